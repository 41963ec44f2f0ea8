#include <sys/stat.h>

#include <fstream>

#include "../support.hpp"
#include "ddpm/data/cifar10.hpp"
#include "ddpm/data/idx.hpp"
#include "ddpm/data/image_folder.hpp"
#include "ddpm/data/loader.hpp"

using namespace test;

namespace {

io::Bytes idx(std::initializer_list<Index> extents, Index elements) {
  io::Bytes bytes{0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const Index extent : extents)
    for (const int shift : {24, 16, 8, 0})
      bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
  for (Index i = 0; i < elements; ++i) bytes.push_back(static_cast<std::uint8_t>(i % 256));
  return bytes;
}

std::string idx_error(const io::Bytes& bytes) {
  return error_of<IoError>([&] { data::parse_idx_images<float>(bytes, "f"); });
}

io::Bytes gzip(const io::Bytes& bytes) {
  io::Bytes packed(bytes.size() + 1000);
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

void write(const std::filesystem::path& path, const io::Bytes& bytes) {
  io::write_file(path, bytes.data(), bytes.size());
}

io::Bytes cifar(Index records) {
  io::Bytes bytes;
  for (Index n = 0; n < records; ++n) {
    bytes.push_back(static_cast<std::uint8_t>(n % 10));
    for (Index i = 0; i < 3072; ++i) bytes.push_back(static_cast<std::uint8_t>(i / 1024 * 100 + n));
  }
  return bytes;
}

}  // namespace

TEST_CASE("idx: the bundled Fashion-MNIST images and labels") {
  const std::string folder = DDPM_FASHION;
  const auto set = data::read_idx<float>(folder + "/train-images-idx3-ubyte.gz",
                                         folder + "/train-labels-idx1-ubyte.gz");
  CHECK(set.images.shape() == Shape{6000, 28, 28, 1});
  CHECK(set.labels.size() == 6000);
  CHECK(set.labels[0] == 9);  // the published file begins with an ankle boot
  const auto [low, high] = std::minmax_element(set.images.begin(), set.images.end());
  CHECK(*low == -1.0F);
  CHECK(*high == 1.0F);
}

TEST_CASE("idx: pixels, plain and gzip") {
  const TemporaryFolder folder;
  const auto bytes = idx({2, 3, 4}, 24);
  write(folder.path / "plain", bytes);
  write(folder.path / "packed", gzip(bytes));
  const auto plain = data::read_idx_images<float>(folder.path / "plain");
  CHECK(plain.shape() == Shape{2, 3, 4, 1});
  CHECK(plain[23] == 23 / 127.5F - 1);
  CHECK(same_bits(plain, data::read_idx_images<float>(folder.path / "packed")));
}

TEST_CASE("idx: whatever is no IDX gives one named error") {
  CHECK(contains(idx_error({}), "0 bytes"));
  CHECK(contains(idx_error({1, 2, 3, 4}), "not an IDX file"));
  CHECK(contains(idx_error({'<', '!', 'd', 'o', 'c'}), "web page"));
  CHECK(contains(idx_error({3, 8, 0, 0, 0}), "swapped"));
  CHECK(contains(idx_error({0, 0, 0x0D, 3}), "element type 13"));
  CHECK(contains(idx_error({0, 0, 8, 1}), "rank 1, expected 3"));
  CHECK(contains(idx_error({0, 0, 8, 3, 0}), "cut short"));
  CHECK(contains(idx_error(idx({2, 3, 4}, 23)), "promises 24 bytes of elements, the file has 23"));
  CHECK(contains(idx_error(idx({2, 3, 4}, 25)), "the file has 25"));
  CHECK(contains(idx_error(idx({0, 3, 4}, 0)), "extent 0 is 0"));
  CHECK(contains(idx_error(idx({0xffffffff, 0xffffffff, 0xffffffff}, 0)), "2^40"));
  const TemporaryFolder folder;
  CHECK(contains(error_of<IoError>([&] { data::read_idx_images<float>(folder.path / "absent"); }),
                 "absent: cannot open"));
  CHECK(contains(error_of<IoError>([&] { data::read_idx_images<float>(folder.path); }),
                 "not a regular file"));
  CHECK_THROWS_AS(data::read_idx_images<float>("/dev/zero"), IoError);
  const auto fifo = folder.path / "fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK_THROWS_AS(data::read_idx_images<float>(fifo), IoError);

  write(folder.path / "images", idx({2, 1, 1}, 2));
  write(folder.path / "labels", idx({3}, 3));
  CHECK(contains(error_of<IoError>([&] {
                   data::read_idx<float>(folder.path / "images", folder.path / "labels");
                 }),
                 "3 labels for the 2 images"));
  write(folder.path / "large", idx({12}, 12));
  CHECK(contains(error_of<IoError>([&] { data::read_idx_labels(folder.path / "large"); }),
                 "label 10 is 10"));
}

TEST_CASE("gzip: damaged, cut short, too large, followed by more") {
  const auto packed = gzip(idx({10, 10, 10}, 1000));
  const auto error = [](io::Bytes bytes, std::size_t most = 1 << 20) {
    return error_of<IoError>([&] { data::gunzip(bytes, "f", most); });
  };
  CHECK(data::gunzip(packed, "f").size() == 16 + 1000);
  for (const std::size_t size : {std::size_t{3}, packed.size() / 2, packed.size() - 1})
    CHECK(contains(error({packed.begin(), packed.begin() + std::ptrdiff_t(size)}), "cut short"));
  auto flipped = packed;
  flipped[flipped.size() - 6] ^= 1;  // inside the CRC
  CHECK(contains(error(flipped), "damaged gzip"));
  auto longer = packed;
  longer.push_back(0);
  CHECK(contains(error(longer), "1 bytes after the end"));
  CHECK(contains(error(packed, 500), "more than 500 bytes"));
}

TEST_CASE("cifar10: one batch, all batches, and what is none") {
  const auto set = data::parse_cifar10<float>(cifar(3), "f");
  CHECK(set.images.shape() == Shape{3, 32, 32, 3});
  CHECK(set.labels == std::vector<Index>{0, 1, 2});
  CHECK(set.images[3 * 1024 + 2] == 201 / 127.5F - 1);  // image 1, first pixel, blue

  const auto error = [](const io::Bytes& bytes) {
    return error_of<IoError>([&] { data::parse_cifar10<float>(bytes, "f"); });
  };
  CHECK(contains(error({}), "empty"));
  CHECK(contains(error(io::Bytes(3072)), "no whole number of records"));
  CHECK(contains(error(io::Bytes(3074)), "CIFAR-100"));
  auto bad = cifar(2);
  bad[3073] = 10;
  CHECK(contains(error(bad), "record 1 has label 10"));
  io::Bytes pickle(100, 0);
  pickle[0] = 0x80;
  CHECK(contains(error(pickle), "Python version"));

  const TemporaryFolder folder;
  for (int batch = 1; batch <= 4; ++batch)
    write(folder.path / ("data_batch_" + std::to_string(batch) + ".bin"), cifar(batch));
  CHECK(contains(error_of<IoError>([&] { data::read_cifar10<float>(folder.path); }),
                 "data_batch_5.bin is missing"));
  write(folder.path / "data_batch_5.bin.gz", gzip(cifar(5)));
  CHECK(data::read_cifar10<float>(folder.path).images.dim(0) == 15);
  CHECK(data::read_cifar10<float>(folder.path / "data_batch_5.bin.gz").images.dim(0) == 5);
}

TEST_CASE("image folder: sorted, resized, cropped; damaged files") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path / "sub");
  std::filesystem::create_directories(folder.path / ".hidden");
  io::write_image<float>(folder.path / "b.png", Tensor<float>({20, 10, 3}, 0.5F));
  io::write_image<float>(folder.path / "a.PNG", Tensor<float>({7, 30, 1}, -0.5F));
  io::write_image<float>(folder.path / "sub" / "c.png", Tensor<float>({8, 8, 3}, 1.0F));
  io::write_image<float>(folder.path / ".hidden" / "d.png", Tensor<float>({8, 8, 3}, 1.0F));
  std::ofstream(folder.path / "notes.txt") << "no picture";
  std::filesystem::create_directory_symlink(folder.path, folder.path / "loop");
  const auto images = data::read_image_folder<float>(folder.path, {.height = 8, .width = 6});
  CHECK(images.shape() == Shape{3, 8, 6, 3});
  CHECK(images[0] == doctest::Approx(-0.5).epsilon(0.01));
  CHECK(images[8 * 6 * 3] == doctest::Approx(0.5).epsilon(0.01));
  const auto grey =
      data::read_image_folder<float>(folder.path, {.height = 4, .width = 4, .channels = 1});
  CHECK(grey.shape() == Shape{3, 4, 4, 1});

  std::ofstream(folder.path / "broken.jpg") << "not a jpeg";
  CHECK(contains(error_of<IoError>([&] { data::read_image_folder<float>(folder.path); }),
                 "broken.jpg: no PNG"));
  CHECK(data::read_image_folder<float>(folder.path, {.skip_damaged = true}).dim(0) == 3);
  CHECK(contains(error_of<IoError>([&] { data::read_image_folder<float>(folder.path / "none"); }),
                 "none"));
  std::filesystem::create_directory(folder.path / "empty");
  CHECK(contains(error_of<IoError>([&] { data::read_image_folder<float>(folder.path / "empty"); }),
                 "no PNG"));
  CHECK_THROWS_AS(data::read_image_folder<float>(folder.path, {.height = 0}), PreconditionError);
  CHECK_THROWS_AS(data::read_image_folder<float>(folder.path, {.channels = 2}), PreconditionError);
}

TEST_CASE("loader: every image once an epoch, the same order for the same seed") {
  Tensor<float> images({10, 1, 2, 1});
  for (Index i = 0; i < 20; ++i) images[i] = float(i);
  data::Loader<float> loader(images, {.batch_size = 4, .seed = 1});
  std::vector<float> drawn;
  for (int i = 0; i < 5; ++i) {
    const auto batch = loader.next();
    for (Index n = 0; n < 4; ++n) drawn.push_back(batch.images[2 * n] / 2);
  }
  CHECK(loader.drawn() == 20);
  std::vector<float> first(drawn.begin(), drawn.begin() + 10),
      second(drawn.begin() + 10, drawn.end());
  CHECK(first != second);
  for (auto* epoch : {&first, &second}) {
    std::sort(epoch->begin(), epoch->end());
    for (std::size_t i = 0; i < 10; ++i) CHECK((*epoch)[i] == float(i));
  }
  data::Loader<float> later(images, {.batch_size = 4, .seed = 1, .drawn = 12});
  CHECK(later.next().images[0] / 2 == drawn[12]);
  data::Loader<float> other(images, {.batch_size = 10, .seed = 2});
  const auto batch = other.next().images;
  bool differs = false;
  for (std::size_t n = 0; n < 10; ++n) differs |= batch[Index(2 * n)] / 2 != drawn[n];
  CHECK(differs);
}

TEST_CASE("loader: flips mirror about half of the images") {
  const Tensor<float> images({1, 1, 2, 1}, {0, 1});
  data::Loader<float> loader(images, {.batch_size = 1000, .seed = 1, .horizontal_flip = true});
  const auto batch = loader.next().images;
  Index flipped = 0;
  for (Index n = 0; n < 1000; ++n) {
    CHECK(batch[2 * n] + batch[2 * n + 1] == 1);
    flipped += batch[2 * n] == 1;
  }
  CHECK((flipped > 420 && flipped < 580));
  CHECK_THROWS_AS(data::Loader<float>(Tensor<float>({0, 2, 2, 1}), {}), PreconditionError);
  CHECK_THROWS_AS(data::Loader<float>(images, {.batch_size = 0}), PreconditionError);
}

TEST_CASE("loader: labels go with their images") {
  data::LabelledImages<float> set{Tensor<float>({5, 1, 2, 1}), {0, 10, 20, 30, 40}};
  for (Index i = 0; i < 10; ++i) set.images[i] = float(i / 2);
  data::Loader<float> loader(set, {.batch_size = 7, .seed = 1});
  const auto batch = loader.next();
  REQUIRE(batch.labels.size() == 7);
  for (Index n = 0; n < 7; ++n)
    CHECK(batch.labels[std::size_t(n)] == Index(10 * batch.images[2 * n]));
  data::Loader<float> without(set.images, {.batch_size = 7, .seed = 1});
  const auto same = without.next();
  CHECK(same.labels.empty());
  CHECK(same_bits(same.images, batch.images));
  set.labels.pop_back();
  CHECK(contains(error_of<PreconditionError>([&] { data::Loader<float>(set, {}); }),
                 "4 labels for 5 images"));
}
