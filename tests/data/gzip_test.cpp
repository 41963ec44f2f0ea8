#include "ddpm/data/gzip.hpp"

#include "fixture.hpp"

using namespace test;

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
