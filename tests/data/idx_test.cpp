#include "ddpm/data/idx.hpp"

#include <sys/stat.h>

#include "fixture.hpp"

using namespace test;

namespace {

std::string idx_error(const io::Bytes& bytes) {
  return error_of<IoError>([&] { data::parse_idx_images<float>(bytes, "f"); });
}

}  // namespace

TEST_CASE("idx: the bundled Fashion-MNIST images and labels") {
  const std::string folder = DDPM_FASHION;
  const auto set = data::read_idx<float>(folder + "/train-images-idx3-ubyte.gz",
                                         folder + "/train-labels-idx1-ubyte.gz");
  CHECK(set.shape() == Shape{6000, 28, 28, 1});
  CHECK(set.labels().size() == 6000);
  CHECK(set.label(0) == 9);  // the published file begins with an ankle boot
  const Tensor<float> images = set.tensor();
  const auto [low, high] = std::minmax_element(images.begin(), images.end());
  CHECK(*low == -1.0F);
  CHECK(*high == 1.0F);
}

TEST_CASE("idx: pixels, plain and gzip") {
  const TemporaryFolder folder;
  const auto bytes = idx({2, 3, 4}, 24);
  write(folder.path / "plain", bytes);
  write(folder.path / "packed", gzip(bytes));
  const auto plain = data::read_idx_images<float>(folder.path / "plain").tensor();
  CHECK(plain.shape() == Shape{2, 3, 4, 1});
  CHECK(plain[23] == 23 / 127.5F - 1);
  CHECK(same_bits(plain, data::read_idx_images<float>(folder.path / "packed").tensor()));
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
