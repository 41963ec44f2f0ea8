#include "ddpm/data/cifar10.hpp"

#include "fixture.hpp"

using namespace test;

namespace {

io::Bytes cifar(Index records) {
  io::Bytes bytes;
  for (Index n = 0; n < records; ++n) {
    bytes.push_back(static_cast<std::uint8_t>(n % 10));
    for (Index i = 0; i < 3072; ++i) bytes.push_back(static_cast<std::uint8_t>(i / 1024 * 100 + n));
  }
  return bytes;
}

}  // namespace

TEST_CASE("cifar10: one batch, all batches, and what is none") {
  const auto set = data::parse_cifar10<float>(cifar(3), "f");
  CHECK(set.shape() == Shape{3, 32, 32, 3});
  CHECK(set.labels() == std::vector<Index>{0, 1, 2});
  CHECK(set.tensor()[3 * 1024 + 2] == 201 / 127.5F - 1);  // image 1, first pixel, blue

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
  pickle[1] = 2;
  CHECK(contains(error(pickle), "Python version"));

  io::Bytes tar(10240, 0);
  const std::string magic = "ustar";
  std::copy(magic.begin(), magic.end(), tar.begin() + 257);
  CHECK(contains(error(tar), "tar archive"));
  const std::string page = "\n<!DOCTYPE html>",
                    pointer = "version https://git-lfs.github.com/spec/v1";
  CHECK(contains(error({page.begin(), page.end()}), "web page"));
  CHECK(contains(error({pointer.begin(), pointer.end()}), "Git LFS pointer"));
  io::Bytes hundred(3074 * 3073, 0);  // whole records of both kinds
  hundred[3073] = 99;
  CHECK(contains(error(hundred), "CIFAR-100"));

  const TemporaryFolder folder;
  const auto folder_error = [&] {
    return error_of<IoError>([&] { data::read_cifar10<float>(folder.path); });
  };
  write(folder.path / "train.bin", {});
  CHECK(contains(folder_error(), "data_batch_1.bin is missing; it is CIFAR-100"));
  std::filesystem::remove(folder.path / "train.bin");
  write(folder.path / "data_batch_1", {});
  CHECK(contains(folder_error(), "Python version"));
  for (int batch = 1; batch <= 4; ++batch)
    write(folder.path / ("data_batch_" + std::to_string(batch) + ".bin"), cifar(batch));
  CHECK(contains(error_of<IoError>([&] { data::read_cifar10<float>(folder.path); }),
                 "data_batch_5.bin is missing"));
  write(folder.path / "data_batch_5.bin.gz", gzip(cifar(5)));
  CHECK(data::read_cifar10<float>(folder.path).size() == 15);
  CHECK(data::read_cifar10<float>(folder.path / "data_batch_5.bin.gz").size() == 5);
}
