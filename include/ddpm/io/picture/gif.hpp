// A strict look at a GIF (GIF87a and GIF89a) before a decoder sees it, as far as its first picture.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

namespace detail {

/// Counts the pixels that LZW codes stand for (GIF89a, appendix F), without making them.
class GifPixels {
 public:
  /// Codes begin with bits + 1 bits.
  explicit GifPixels(std::uint32_t bits) : bits_(bits), clear_(std::uint32_t{1} << bits) {
    clear();
  }

  /// Takes the next byte. False if there is a code that no table can have.
  bool add(std::uint32_t byte) {
    if (ended_) return true;
    buffer_ |= byte << filled_;
    filled_ += 8;
    for (; filled_ >= width_ && !ended_;) {
      const std::uint32_t code = buffer_ & ((1U << width_) - 1);
      buffer_ >>= width_;
      filled_ -= width_;
      if (!take(code)) return false;
    }
    return true;
  }

  Index count() const { return count_; }

 private:
  void clear() {
    width_ = bits_ + 1;
    next_ = clear_ + 2;
    previous_ = 0;
  }

  bool take(std::uint32_t code) {
    if (code == clear_) {
      clear();
      return true;
    }
    ended_ = code == clear_ + 1;
    if (ended_) return true;
    if (code > next_ || (code == next_ && previous_ == 0)) return false;
    const Index length = code < clear_ ? 1 : code == next_ ? previous_ + 1 : lengths_[code];
    if (previous_ > 0 && next_ < lengths_.size()) {
      lengths_[next_++] = previous_ + 1;
      if (next_ == 1U << width_ && width_ < 12) ++width_;
    }
    previous_ = length;
    count_ += length;
    return true;
  }

  const std::uint32_t bits_, clear_;
  std::uint32_t buffer_ = 0, filled_ = 0, width_ = 0;
  std::uint32_t next_ = 0;             ///< the code that is added next
  std::array<Index, 4096> lengths_{};  ///< pixels of each code that was added
  Index previous_ = 0, count_ = 0;     ///< pixels of the last code, and of all
  bool ended_ = false;
};

}  // namespace detail

/// Throws IoError unless the file is a GIF whose first picture is whole.
inline Info check_gif(const Reader& file) {
  const Index width = file.little16(6), height = file.little16(8);
  file.check_size(height, width);
  const auto palette_bytes = [](std::uint32_t flags) {
    return (flags & 0x80) != 0 ? std::size_t{3} << ((flags & 7) + 1) : 0;
  };
  std::size_t at = 13 + palette_bytes(file.byte(10));
  const auto for_each_byte_of_blocks = [&](const auto& f) {
    for (std::size_t length = 1; length > 0; at += 1 + length) {
      length = file.byte(at);
      file.need(at, 1 + length);
      for (std::size_t i = 1; i <= length; ++i) f(file.byte(at + i));
    }
  };
  while (file.byte(at) == '!') {  // extensions
    at += 2;
    for_each_byte_of_blocks([](std::uint32_t) {});
  }
  if (file.byte(at) != ',') file.fail("damaged GIF: no picture at byte ", at);
  const Index left = file.little16(at + 1), top = file.little16(at + 3);
  const Index columns = file.little16(at + 5), rows = file.little16(at + 7);
  const std::uint32_t flags = file.byte(at + 9);
  if (columns < 1 || rows < 1 || left + columns > width || top + rows > height)
    file.fail("damaged GIF: a picture of ", columns, " x ", rows, " at ", left, ", ", top, " of ",
              width, " x ", height);
  constexpr Index most = 16;  // a small file could claim much memory
  if (width * height > most * columns * rows)
    file.fail("a GIF whose first picture, ", columns, " x ", rows, ", is less than a sixteenth of ",
              width, " x ", height);
  if (palette_bytes(flags) == 0 && palette_bytes(file.byte(10)) == 0)
    file.fail("damaged GIF: no palette");
  at += 10 + palette_bytes(flags);
  if (file.byte(at) < 1 || file.byte(at) > 8)
    file.fail("damaged GIF: codes of ", file.byte(at), " bits");
  detail::GifPixels pixels(file.byte(at++));
  for_each_byte_of_blocks([&](std::uint32_t byte) {
    if (!pixels.add(byte)) file.fail("damaged GIF: a code that is not known");
  });
  if (pixels.count() < columns * rows)
    file.fail("damaged GIF: ", pixels.count(), " pixels, its size needs ", columns * rows);
  return {height, width, 4};
}

}  // namespace ddpm::DDPM_ABI::io::picture
