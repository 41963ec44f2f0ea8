// How a camera was held: the orientation tag of a JPEG's Exif block (CIPA DC-008, tag 0x0112).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI::io {

namespace detail {

/// Numbers of a TIFF structure, in its own byte order; nothing beyond its end.
class TiffReader {
 public:
  TiffReader(const std::uint8_t* data, std::size_t size)
      : data_(data), size_(size), little_(size > 0 && data[0] == 'I') {}

  std::optional<std::uint32_t> number(std::size_t at, std::size_t bytes) const {
    if (at > size_ || bytes > size_ - at) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i)
      value = value << 8 | data_[at + (little_ ? bytes - 1 - i : i)];
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  bool little_;
};

/// The orientation in a TIFF structure, 1 if it tells none.
inline int tiff_orientation(const std::uint8_t* data, std::size_t size) {
  const TiffReader tiff(data, size);
  const auto magic = tiff.number(2, 2), directory = tiff.number(4, 4);
  if (!magic || *magic != 42 || !directory) return 1;
  const auto entries = tiff.number(*directory, 2);
  for (std::size_t i = 0; entries && i < *entries; ++i) {
    const std::size_t entry = *directory + 2 + 12 * i;
    const auto tag = tiff.number(entry, 2), value = tiff.number(entry + 8, 2);
    if (!tag || !value) return 1;
    if (*tag == 0x0112) return *value >= 1 && *value <= 8 ? static_cast<int>(*value) : 1;
  }
  return 1;
}

}  // namespace detail

/// 1 to 8 as Exif counts them; 1, upright, if the bytes are no JPEG or tell nothing.
inline int exif_orientation(const std::vector<std::uint8_t>& bytes) {
  if (bytes.size() < 4 || bytes[0] != 0xFF || bytes[1] != 0xD8) return 1;
  // Segments: marker, length (its own two bytes included), data; the picture begins at SOS.
  for (std::size_t at = 2; at + 4 <= bytes.size() && bytes[at] == 0xFF && bytes[at + 1] != 0xDA;) {
    const std::size_t length = std::size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (length < 2 || at + 2 + length > bytes.size()) return 1;
    const std::uint8_t* data = bytes.data() + at + 4;
    constexpr std::uint8_t exif[] = {'E', 'x', 'i', 'f', 0, 0};
    if (bytes[at + 1] == 0xE1 && length >= 8 && std::equal(exif, exif + 6, data))
      return detail::tiff_orientation(data + 6, length - 8);
    at += 2 + length;
  }
  return 1;
}

}  // namespace ddpm::DDPM_ABI::io
