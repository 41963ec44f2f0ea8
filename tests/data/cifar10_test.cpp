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
  CHECK(contains(error(pickle), "Python version"));

  const TemporaryFolder folder;
  for (int batch = 1; batch <= 4; ++batch)
    write(folder.path / ("data_batch_" + std::to_string(batch) + ".bin"), cifar(batch));
  CHECK(contains(error_of<IoError>([&] { data::read_cifar10<float>(folder.path); }),
                 "data_batch_5.bin is missing"));
  write(folder.path / "data_batch_5.bin.gz", gzip(cifar(5)));
  CHECK(data::read_cifar10<float>(folder.path).size() == 15);
  CHECK(data::read_cifar10<float>(folder.path / "data_batch_5.bin.gz").size() == 5);
}
