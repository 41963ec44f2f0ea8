// The coded data of a JPEG's scan (ITU T.81, annexes F and G), walked code by code: a decoder that
// meets its end too early, or a code that its tables have not, goes on with whatever it has.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <vector>

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture::detail {

/// The codes of a table, by length.
struct JpegCodes {
  std::array<std::uint32_t, 17> end{};  ///< past the last code of each length, in 16 bits
  std::array<int, 17> values_before{};  ///< of shorter codes, less the first code of a length
  std::vector<std::uint8_t> values;

  JpegCodes() = default;
  /// counts: 16, of the codes of length 1 to 16; `all` their values.
  JpegCodes(std::span<const std::uint8_t> counts, std::span<const std::uint8_t> all)
      : values(all.begin(), all.end()) {
    std::uint32_t code = 0, before = 0;
    for (std::size_t length = 1; length <= 16; ++length) {
      values_before[length] = static_cast<int>(before) - static_cast<int>(code);
      code += counts[length - 1];
      before += counts[length - 1];
      end[length] = code << (16 - length);
      code <<= 1;
    }
  }
};

/// A component of the frame.
struct JpegComponent {
  std::uint32_t id = 0, horizontal = 0, vertical = 0, quantisation = 0;
  Index rows = 0, columns = 0;  ///< blocks of a scan of this component only
  Index stride = 0;             ///< blocks of a row, in whole units of an interleaved scan
  bool begun = false;           ///< a scan had its first coefficients
  std::vector<std::uint64_t> not_zero =
      {};  ///< of a progressive picture: a bit for each coefficient
};

/// What a scan's header tells.
struct JpegScanHeader {
  struct Part {
    JpegComponent* component;
    const JpegCodes *dc, *ac;
  };
  std::vector<Part> parts;
  std::uint32_t first, last, high, low;  ///< coefficients, and successive approximation
  bool progressive;
  Index unit_rows, unit_columns;  ///< of an interleaved scan
  Index restart_interval;         ///< units; 0: none
};

/// One scan: where its coded data begin, and what its header told.
class JpegScan {
 public:
  JpegScan(const Reader& file, std::size_t at, const JpegScanHeader& header)
      : file_(file), start_(at), at_(at), header_(header) {}

  /// The place behind the last code, or a little later. Throws IoError if the data end before it,
  /// or a code is bad.
  std::size_t walk() {
    const auto& parts = header_.parts;
    const bool alone = parts.size() == 1;
    const JpegComponent& only = *parts[0].component;
    const Index rows = alone ? only.rows : header_.unit_rows,
                columns = alone ? only.columns : header_.unit_columns;
    for (Index unit = 0; unit < rows * columns; ++unit) {
      if (header_.restart_interval > 0 && unit > 0 && unit % header_.restart_interval == 0)
        restart();
      const Index row = unit / columns, column = unit % columns;
      for (std::size_t p = 0; p < parts.size(); ++p) {
        const Index tall = alone ? 1 : parts[p].component->vertical,
                    wide = alone ? 1 : parts[p].component->horizontal;
        for (Index i = 0; i < tall * wide; ++i)
          block(p, (row * tall + i / wide) * parts[p].component->stride + column * wide + i % wide);
      }
    }
    return at_;
  }

 private:
  template <class... What>
  [[noreturn]] void damaged(const What&... what) const {
    file_.fail("damaged JPEG: the scan at byte ", start_, what...);
  }

  void block(std::size_t part, Index number) {
    if (!header_.progressive) {
      dc_difference(part);
      coefficients(part, 1, 63, nullptr);
      return;
    }
    auto& component = *header_.parts[part].component;
    std::uint64_t& not_zero = component.not_zero[static_cast<std::size_t>(number)];
    if (header_.first == 0 && header_.high == 0) {
      not_zero = 0;  // it begins the block anew
      dc_difference(part);
    } else if (header_.first == 0)
      bits(1);
    else if (header_.high == 0)
      coefficients(part, header_.first, header_.last, &not_zero);
    else
      refine(part, not_zero);
  }

  void dc_difference(std::size_t part) {
    const std::uint32_t size = code(*header_.parts[part].dc);
    if (size > 15) damaged(": a difference of ", size, " bits");
    const auto value = static_cast<int>(bits(size));
    int& dc = dc_[part];
    dc += size > 0 && value < 1 << (size - 1) ? value - (1 << size) + 1 : value;
    if (std::abs(dc) > 32767) damaged(": a mean of ", dc);
  }

  /// Runs of zeros, each with what follows it. not_zero: of a progressive picture, else null.
  void coefficients(std::size_t part, std::uint32_t first, std::uint32_t last,
                    std::uint64_t* not_zero) {
    if (not_zero != nullptr && blocks_to_pass_ > 0) {
      --blocks_to_pass_;
      return;
    }
    for (std::uint32_t k = first; k <= last; ++k) {
      const std::uint32_t symbol = code(*header_.parts[part].ac), run = symbol >> 4,
                          size = symbol & 15;
      if (size == 0 && run < 15) {
        if (not_zero != nullptr) blocks_to_pass_ = (Index{1} << run) + bits(run) - 1;
        return;
      }
      k += run;
      if (size == 0) continue;
      if (k > 63) damaged(": a coefficient past the last");
      if (size + header_.low > 15) damaged(": a coefficient of ", size, " bits");
      bits(size);
      if (not_zero != nullptr) *not_zero |= std::uint64_t{1} << k;
    }
  }

  /// A bit more for each coefficient that is not zero, and new ones between them.
  void refine(std::size_t part, std::uint64_t& not_zero) {
    std::uint32_t k = header_.first;
    const auto known = [&] { return (not_zero >> k & 1) != 0; };
    if (blocks_to_pass_ == 0) {
      for (; k <= header_.last; ++k) {
        const std::uint32_t symbol = code(*header_.parts[part].ac), size = symbol & 15;
        std::uint32_t run = symbol >> 4;
        if (size > 1) damaged(": a new coefficient of ", size, " bits");
        if (size == 0 && run < 15) {
          blocks_to_pass_ = (Index{1} << run) + bits(run);
          break;
        }
        bits(size);
        for (; k <= header_.last && (known() || run > 0); ++k)
          if (known())
            bits(1);
          else
            --run;
        if (size > 0 && k <= header_.last) not_zero |= std::uint64_t{1} << k;
      }
    }
    if (blocks_to_pass_ == 0) return;
    --blocks_to_pass_;
    for (; k <= header_.last; ++k)
      if (known()) bits(1);
  }

  void restart() {
    if (count_ >= 8 || !ended()) damaged(": no restart at byte ", at_);
    count_ = 0;
    buffer_ = 0;
    while (file_.byte(at_) == 0xFF && file_.byte(at_ + 1) == 0xFF) ++at_;  // fill bytes
    const std::uint32_t marker = file_.big16(at_);
    if (marker < 0xFFD0 || marker > 0xFFD7) damaged(": no restart at byte ", at_);
    at_ += 2;
    dc_.fill(0);
    blocks_to_pass_ = 0;
  }

  /// The value of the next code.
  std::uint32_t code(const JpegCodes& codes) {
    const std::uint32_t next = peek();
    std::size_t length = 1;
    while (length <= 16 && next >= codes.end[length]) ++length;
    if (length > 16) damaged(": a code that is in no table");
    skip(static_cast<int>(length));
    const int place = static_cast<int>(next >> (16 - length)) + codes.values_before[length];
    return codes.values[static_cast<std::size_t>(place)];
  }

  std::uint32_t bits(std::uint32_t count) {
    if (count == 0) return 0;
    const std::uint32_t value = peek() >> (16 - count);
    skip(static_cast<int>(count));
    return value;
  }

  /// The next 16 bits, zeros past the end.
  std::uint32_t peek() {
    while (count_ < 16 && !ended()) {
      buffer_ = buffer_ << 8 | file_.byte(at_);
      at_ += file_.byte(at_) == 0xFF ? 2 : 1;
      count_ += 8;
    }
    return static_cast<std::uint32_t>(count_ >= 16 ? buffer_ >> (count_ - 16)
                                                   : buffer_ << (16 - count_)) &
           0xFFFF;
  }

  void skip(int count) {
    if (count > count_) damaged(" ends too early");
    count_ -= count;
  }

  /// At a marker: 0xFF without a stuffed 0.
  bool ended() const { return file_.byte(at_) == 0xFF && file_.byte(at_ + 1) != 0; }

  const Reader& file_;
  std::size_t start_, at_;  ///< at_: the first byte that is not in the buffer
  const JpegScanHeader& header_;
  std::uint64_t buffer_ = 0;
  int count_ = 0;  ///< bits in the buffer that were not used
  std::array<int, 4> dc_{};
  Index blocks_to_pass_ = 0;  ///< an end-of-band run
};

}  // namespace ddpm::DDPM_ABI::io::picture::detail
