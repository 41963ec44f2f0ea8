// Bytes of a picture's file, read with a check of every place.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ddpm/core/error.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::io::picture {

/// What a picture's header tells.
struct Info {
  Index height, width;
  Index channels;  ///< in the file, 2 and 4 with alpha
};

/// Sizes that are read: stb's own limit of a side, and what a picture may need in memory.
inline constexpr Index most_side = 16384, most_pixels = 128'000'000;

class Reader {
 public:
  /// `name` stands in errors.
  Reader(const std::vector<std::uint8_t>& bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}

  std::size_t size() const { return bytes_.size(); }
  const std::uint8_t* data() const { return bytes_.data(); }

  /// Whether `size` bytes stand at `place`.
  bool has(std::size_t place, std::size_t size) const {
    return place <= bytes_.size() && size <= bytes_.size() - place;
  }
  bool starts_with(std::string_view text, std::size_t place = 0) const {
    return has(place, text.size()) &&
           std::equal(text.begin(), text.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(place),
                      [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
  }

  std::uint32_t byte(std::size_t place) const {
    need(place, 1);
    return bytes_[place];
  }
  std::uint32_t big16(std::size_t place) const { return byte(place) << 8 | byte(place + 1); }
  std::uint32_t big32(std::size_t place) const { return big16(place) << 16 | big16(place + 2); }
  std::uint32_t little16(std::size_t place) const { return byte(place) | byte(place + 1) << 8; }
  std::uint32_t little32(std::size_t place) const {
    return little16(place) | little16(place + 2) << 16;
  }

  /// Throws IoError if the file ends before `size` bytes at `place`.
  void need(std::size_t place, std::size_t size) const {
    if (!has(place, size)) fail("cut short after ", bytes_.size(), " bytes");
  }

  template <class... What>
  [[noreturn]] void fail(const What&... what) const {
    throw IoError(message(name_, ": ", what...));
  }

  /// Throws IoError if a picture of that size is not read.
  void check_size(Index height, Index width) const {
    if (height < 1 || width < 1 || height > most_side || width > most_side ||
        height * width > most_pixels)
      fail(width, " x ", height, " pixels, expected 1 to ", most_side, " a side and at most ",
           most_pixels);
  }

 private:
  const std::vector<std::uint8_t>& bytes_;
  const std::string& name_;
};

}  // namespace ddpm::DDPM_ABI::io::picture
