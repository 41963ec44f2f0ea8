// A strict look at a JPEG (ITU T.81, annexes A and B) before a decoder sees it: segments, tables,
// the frame, and with jpeg_scan.hpp every code, from SOI to EOI.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "ddpm/io/picture/jpeg_scan.hpp"

namespace ddpm::DDPM_ABI::io::picture {

namespace detail {

class JpegReader {
 public:
  explicit JpegReader(const Reader& file) : file_(file) {}

  Info check() {
    constexpr int most_scans = 64;  // of progressive pictures; each costs a pass over the picture
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
      at = end_of_scan(JpegScan(file_, at, header_).walk());
    }
    for (const JpegComponent& component : components_)
      if (!component.begun) damaged("no scan of component ", component.id);
    if (scans == 0) damaged("no picture in it");
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
      case 0xC2: return frame(at, size, marker == 0xC2);
      case 0xC4: return huffman_tables(at, size);
      case 0xDA: return scan(at, size);
      case 0xDB: return quantisation_tables(at, size);
      case 0xDD:
        if (size != 2) damaged("a restart interval of ", size, " bytes");
        header_.restart_interval = file_.big16(at);
        return;
      default: break;
    }
    if (marker >= 0xC3 && marker <= 0xCF && marker != 0xC8 && marker != 0xCC)
      file_.fail("a JPEG of a kind that is not read (lossless, hierarchical or arithmetic)");
    const bool passed_over = (marker >= 0xE0 && marker <= 0xEF) || marker == 0xFE;
    if (!passed_over) damaged("the marker ", marker, " at byte ", at - 4);
  }

  /// Counts of codes by their length, and the values; no more codes than the lengths have room for.
  void huffman_tables(std::size_t at, std::size_t size) {
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
      // Eight bits need 176 at most, and stb takes the 256th for none.
      if (values > 255 || values > end - at - 17) damaged("a Huffman table of ", values, " codes");
      const auto counts = std::span(file_.data() + at + 1, 16);
      codes_[kind >> 4][kind & 15].emplace(counts, std::span(file_.data() + at + 17, values));
      at += 17 + values;
    }
  }

  void quantisation_tables(std::size_t at, std::size_t size) {
    for (const std::size_t end = at + size; at < end;) {
      const std::uint32_t kind = file_.byte(at);
      const std::size_t bytes = kind >> 4 == 0 ? 65 : 129;
      if (kind >> 4 > 1 || (kind & 15) > 3 || end - at < bytes) damaged("a quantisation table");
      quantisation_[kind & 15] = true;
      at += bytes;
    }
  }

  void frame(std::size_t at, std::size_t size, bool progressive) {
    if (!components_.empty()) damaged("a second frame");
    if (size < 6) damaged("a frame of ", size, " bytes");
    const std::size_t count = file_.byte(at + 5);
    if (file_.byte(at) != 8 || (count != 1 && count != 3 && count != 4))
      file_.fail("a JPEG of ", file_.byte(at), " bits and ", count,
                 " components, which is not read");
    if (size != 6 + 3 * count) damaged("a frame of ", size, " bytes");
    info_ = {file_.big16(at + 1), file_.big16(at + 3), count == 1 ? 1 : 3};
    file_.check_size(info_.height, info_.width);
    // Each block of 8 x 8 pixels has a code of a bit or more, if only once.
    if (static_cast<Index>(file_.size()) * 8 <
        blocks(info_.height, 1, 1) * blocks(info_.width, 1, 1))
      damaged(file_.size(), " bytes are too few for ", info_.width, " x ", info_.height, " pixels");
    std::uint32_t tallest = 1, widest = 1;
    for (std::size_t c = 0; c < count; ++c) {
      const std::uint32_t sampling = file_.byte(at + 7 + 3 * c), table = file_.byte(at + 8 + 3 * c);
      const auto in_range = [](std::uint32_t factor) { return factor >= 1 && factor <= 4; };
      if (!in_range(sampling >> 4) || !in_range(sampling & 15) || table > 3)
        damaged("component ", c, " of the frame");
      components_.push_back({file_.byte(at + 6 + 3 * c), sampling >> 4, sampling & 15, table});
      widest = std::max(widest, sampling >> 4);
      tallest = std::max(tallest, sampling & 15);
    }
    header_.progressive = progressive;
    header_.unit_rows = blocks(info_.height, 1, tallest);
    header_.unit_columns = blocks(info_.width, 1, widest);
    for (JpegComponent& component : components_) {
      if (tallest % component.vertical != 0 || widest % component.horizontal != 0)
        file_.fail("a JPEG whose components have sizes that do not divide, which is not read");
      component.rows = blocks(info_.height, component.vertical, tallest);
      component.columns = blocks(info_.width, component.horizontal, widest);
      component.stride = header_.unit_columns * component.horizontal;
      if (progressive)
        component.not_zero.resize(
            static_cast<std::size_t>(header_.unit_rows * component.vertical * component.stride));
    }
  }

  /// Blocks of a component that has `part` samples where another has `whole` pixels.
  static Index blocks(Index pixels, Index part, Index whole) {
    return ((pixels * part + whole - 1) / whole + 7) / 8;
  }

  void scan(std::size_t at, std::size_t size) {
    const std::size_t count = file_.byte(at);
    if (components_.empty()) damaged("a scan before the frame");
    if (count < 1 || count > components_.size() || size != 4 + 2 * count)
      damaged("a scan of ", count, " components in ", size, " bytes");
    const std::uint32_t bits = file_.byte(at + 3 + 2 * count);
    header_.first = file_.byte(at + 1 + 2 * count);
    header_.last = file_.byte(at + 2 + 2 * count);
    header_.high = bits >> 4;
    header_.low = bits & 15;
    const bool in_order =
        header_.progressive
            ? (header_.first == 0 ? header_.last == 0 : count == 1) && header_.first <= header_.last
            : header_.first == 0 && bits == 0;
    if (!in_order || header_.last > 63 || header_.high > 13 || header_.low > 13)
      damaged("a scan of coefficients ", header_.first, " to ", header_.last);
    header_.parts.clear();
    for (std::size_t c = 0; c < count; ++c)
      scan_component(file_.byte(at + 1 + 2 * c), file_.byte(at + 2 + 2 * c));
  }

  /// Component `id` of a scan, with its tables.
  void scan_component(std::uint32_t id, std::uint32_t tables) {
    const auto found = std::find_if(components_.begin(), components_.end(),
                                    [&](const JpegComponent& c) { return c.id == id; });
    const bool begins = header_.first == 0 && header_.high == 0;
    if (found == components_.end() || tables >> 4 > 3 || (tables & 15) > 3 ||
        (!begins && !found->begun))
      damaged("component ", id, " of a scan");
    for (const auto& part : header_.parts)
      if (part.component == &*found) damaged("component ", id, " twice in a scan");
    found->begun = true;
    const auto& dc = codes_[0][tables >> 4];
    const auto& ac = codes_[1][tables & 15];
    const bool needs_ac = !header_.progressive || header_.first > 0;
    if ((begins && !dc) || (needs_ac && !ac) || !quantisation_[found->quantisation])
      damaged("a table of component ", id, " is missing");
    header_.parts.push_back({&*found, dc ? &*dc : nullptr, ac ? &*ac : nullptr});
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
  std::vector<JpegComponent> components_;
  std::array<std::array<std::optional<JpegCodes>, 4>, 2> codes_;  ///< of means, of the others
  std::array<bool, 4> quantisation_{};                            ///< which tables are there
  JpegScanHeader header_{};
};

}  // namespace detail

/// Throws IoError unless the file is a JPEG that is whole, to the last code.
inline Info check_jpeg(const Reader& file) { return detail::JpegReader(file).check(); }

}  // namespace ddpm::DDPM_ABI::io::picture
