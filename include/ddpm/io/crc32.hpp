// CRC-32, the checksum of gzip, PNG and zip (ISO 3309, polynomial 0x04C11DB7 reflected): Python's
// zlib.crc32 gives the same number. Eight bytes at a time (Kounavis & Berry 2005, "Slicing-by-8").
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI::io {

namespace detail {

/// Table 0 divides one byte; table k what that byte leaves k bytes later.
inline constexpr auto crc32_tables = [] {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1U ? 0xEDB88320U : 0U);
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::size_t byte = 0; byte < 256; ++byte)
      tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 0xFFU];
  return tables;
}();

}  // namespace detail

/// The checksum of bytes that come in pieces.
class Crc32 {
 public:
  Crc32& add(const void* data, std::size_t size) {
    const auto& tables = detail::crc32_tables;
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    for (; size >= 8; bytes += 8, size -= 8) {
      std::uint32_t low = 0, high = 0;
      std::memcpy(&low, bytes, 4);
      std::memcpy(&high, bytes + 4, 4);
      low ^= crc_;
      crc_ = 0;
      for (std::size_t i = 0; i < 4; ++i)
        crc_ ^= tables[7 - i][low >> 8 * i & 0xFFU] ^ tables[3 - i][high >> 8 * i & 0xFFU];
    }
    for (; size > 0; ++bytes, --size) crc_ = crc_ >> 8 ^ tables[0][(crc_ ^ *bytes) & 0xFFU];
    return *this;
  }

  std::uint32_t value() const { return ~crc_; }

 private:
  std::uint32_t crc_ = 0xFFFFFFFFU;
};

}  // namespace ddpm::DDPM_ABI::io
