// A strict look at a JPEG (ITU T.81, annexes B and C) before a decoder sees it: segments, tables
// and the frame, from SOI to EOI.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

namespace detail {

class JpegReader {
 public:
  explicit JpegReader(const Reader& file) : file_(file) {}

  Info check() {
    constexpr int most_scans = 256;  // of progressive pictures; each costs a pass over the picture
    int scans = 0;
    for (std::size_t at = 2;;) {
      while (file_.byte(at) == 0xFF && file_.byte(at + 1) == 0xFF) ++at;  // fill bytes
      if (file_.byte(at) != 0xFF) damaged("no marker at byte ", at);
      const std::uint32_t marker = file_.byte(at + 1);
      if (marker == 0xD9) break;  // EOI
      const std::size_t length = file_.big16(at + 2);
      if (length < 2) damaged("a segment of ", length, " bytes at byte ", at);
      file_.need(at + 2, length);
      segment(marker, at + 4, length - 2);
      at += 2 + length;
      if (marker != 0xDA) continue;
      if (++scans > most_scans) damaged("more than ", most_scans, " scans");
      at = end_of_scan(at);
    }
    if (scans == 0) damaged("no picture in it");
    // Each block of 8 x 8 pixels has a code of a bit or more.
    const Index blocks = (info_.height + 7) / 8 * ((info_.width + 7) / 8);
    if (static_cast<Index>(file_.size()) * 8 < blocks)
      damaged(file_.size(), " bytes are too few for ", info_.width, " x ", info_.height, " pixels");
    return info_;
  }

 private:
  template <class... What>
  [[noreturn]] void damaged(const What&... what) const {
    file_.fail("damaged JPEG: ", what...);
  }

  void segment(std::uint32_t marker, std::size_t at, std::size_t size) {
    switch (marker) {
      case 0xC0:
      case 0xC1:
      case 0xC2: return frame(at, size);
      case 0xC4: return huffman_tables(at, size);
      case 0xDA: return scan(at, size);
      case 0xDB: return quantisation_tables(at, size);
      case 0xDD:
        if (size != 2) damaged("a restart interval of ", size, " bytes");
        return;
      default: break;
    }
    if (marker >= 0xC3 && marker <= 0xCF && marker != 0xC8 && marker != 0xCC)
      file_.fail("a JPEG of a kind that is not read (lossless, hierarchical or arithmetic)");
    const bool passed_over = (marker >= 0xE0 && marker <= 0xEF) || marker == 0xFE;
    if (!passed_over) damaged("the marker ", marker, " at byte ", at - 4);
  }

  /// Counts of codes by their length, and the values; no more codes than the lengths have room for.
  void huffman_tables(std::size_t at, std::size_t size) const {
    for (const std::size_t end = at + size; at < end;) {
      const std::uint32_t kind = file_.byte(at);
      if (kind >> 4 > 1 || (kind & 15) > 3 || end - at < 17) damaged("a Huffman table");
      std::size_t values = 0, room = 1;
      for (std::size_t i = 1; i <= 16; ++i) {
        const std::size_t count = file_.byte(at + i);
        room = 2 * room;
        if (count > room) damaged("a Huffman table with more codes than there are");
        room -= count;
        values += count;
      }
      if (values > 256 || values > end - at - 17) damaged("a Huffman table of ", values, " codes");
      at += 17 + values;
    }
  }

  void quantisation_tables(std::size_t at, std::size_t size) const {
    for (const std::size_t end = at + size; at < end;) {
      const std::uint32_t kind = file_.byte(at);
      const std::size_t bytes = kind >> 4 == 0 ? 65 : 129;
      if (kind >> 4 > 1 || (kind & 15) > 3 || end - at < bytes) damaged("a quantisation table");
      at += bytes;
    }
  }

  void frame(std::size_t at, std::size_t size) {
    if (components_ > 0) damaged("a second frame");
    if (size < 6) damaged("a frame of ", size, " bytes");
    components_ = file_.byte(at + 5);
    if (file_.byte(at) != 8 || (components_ != 1 && components_ != 3 && components_ != 4))
      file_.fail("a JPEG of ", file_.byte(at), " bits and ", components_,
                 " components, which is not read");
    if (size != 6 + 3 * components_) damaged("a frame of ", size, " bytes");
    for (std::size_t c = 0; c < components_; ++c) {
      const std::uint32_t sampling = file_.byte(at + 7 + 3 * c);
      const auto in_range = [](std::uint32_t factor) { return factor >= 1 && factor <= 4; };
      if (!in_range(sampling >> 4) || !in_range(sampling & 15) || file_.byte(at + 8 + 3 * c) > 3)
        damaged("component ", c, " of the frame");
      ids_[c] = file_.byte(at + 6 + 3 * c);
    }
    info_ = {file_.big16(at + 1), file_.big16(at + 3), components_ == 1 ? 1 : 3};
    file_.check_size(info_.height, info_.width);
  }

  void scan(std::size_t at, std::size_t size) const {
    const std::size_t count = file_.byte(at);
    if (components_ == 0) damaged("a scan before the frame");
    if (count < 1 || count > components_ || size != 4 + 2 * count)
      damaged("a scan of ", count, " components in ", size, " bytes");
    for (std::size_t c = 0; c < count; ++c) {
      const std::uint32_t tables = file_.byte(at + 2 + 2 * c);
      const auto end = ids_.begin() + static_cast<std::ptrdiff_t>(components_);
      if (std::find(ids_.begin(), end, file_.byte(at + 1 + 2 * c)) == end || tables >> 4 > 3 ||
          (tables & 15) > 3)
        damaged("component ", c, " of a scan");
    }
    const std::uint32_t first = file_.byte(at + 1 + 2 * count),
                        last = file_.byte(at + 2 + 2 * count);
    const std::uint32_t bits = file_.byte(at + 3 + 2 * count);
    if (first > last || last > 63 || bits >> 4 > 13 || (bits & 15) > 13)
      damaged("a scan of coefficients ", first, " to ", last);
  }

  /// The marker behind the coded data that begin at `at`.
  std::size_t end_of_scan(std::size_t at) const {
    for (;; ++at) {
      if (file_.byte(at) != 0xFF) continue;
      const std::uint32_t next = file_.byte(at + 1);
      const bool coded = next == 0 || (next >= 0xD0 && next <= 0xD7);  // stuffed, or a restart
      if (!coded && next != 0xFF) return at;
    }
  }

  const Reader& file_;
  Info info_{0, 0, 0};
  std::size_t components_ = 0;
  std::array<std::uint32_t, 4> ids_{};
};

}  // namespace detail

/// Throws IoError unless the file is a JPEG that is whole, as far as its segments tell.
inline Info check_jpeg(const Reader& file) { return detail::JpegReader(file).check(); }

}  // namespace ddpm::DDPM_ABI::io::picture
