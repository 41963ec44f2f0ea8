#include "ddpm/io/crc32.hpp"

#include <string>

#include "../support.hpp"

using namespace test;

TEST_CASE("crc32: the published check value, and any way of cutting gives the same") {
  const std::string digits = "123456789";  // the check value of the catalogue of CRC algorithms
  CHECK(io::Crc32().add(digits.data(), digits.size()).value() == 0xCBF43926U);
  CHECK(io::Crc32().value() == 0);
  const auto values = random_tensor<float>({37}, 1);
  const auto* bytes = reinterpret_cast<const char*>(values.data());
  std::uint32_t plain = 0xFFFFFFFFU;  // bit by bit
  for (std::size_t i = 0; i < 148; ++i) {
    plain ^= static_cast<unsigned char>(bytes[i]);
    for (int bit = 0; bit < 8; ++bit) plain = plain >> 1 ^ (plain & 1U ? 0xEDB88320U : 0U);
  }
  for (std::size_t cut = 0; cut <= 148; ++cut)
    CHECK(io::Crc32().add(bytes, cut).add(bytes + cut, 148 - cut).value() == ~plain);
}
