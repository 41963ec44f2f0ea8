// A strict look at a PNG (ISO 15948) before a decoder sees it: chunks, checksums, and that the
// compressed data hold as many bytes as the picture needs, neither fewer nor more.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <zlib.h>

#include <array>

#include "ddpm/io/crc32.hpp"
#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

inline constexpr std::string_view png_signature("\x89PNG\r\n\x1a\n", 8);

namespace detail {

/// The fields of IHDR.
struct PngHeader {
  Index height, width;
  std::uint32_t depth, colour, interlaced;

  Index samples() const {
    constexpr std::array<Index, 7> of_colour{1, 0, 3, 1, 2, 0, 4};
    return of_colour[colour];
  }

  /// Bytes of the rows, each behind its filter byte, of all seven passes if it is interlaced.
  std::uint64_t raw_bytes() const {
    const auto pass = [&](Index rows, Index columns) {
      if (rows <= 0 || columns <= 0) return Index{0};
      return rows * ((columns * samples() * static_cast<Index>(depth) + 7) / 8 + 1);
    };
    if (interlaced == 0) return static_cast<std::uint64_t>(pass(height, width));
    constexpr Index first_row[] = {0, 0, 4, 0, 2, 0, 1}, row_step[] = {8, 8, 8, 4, 4, 2, 2};
    constexpr Index first_column[] = {0, 4, 0, 2, 0, 1, 0}, column_step[] = {8, 8, 4, 4, 2, 2, 1};
    Index bytes = 0;
    for (int p = 0; p < 7; ++p)
      bytes += pass((height - first_row[p] + row_step[p] - 1) / row_step[p],
                    (width - first_column[p] + column_step[p] - 1) / column_step[p]);
    return static_cast<std::uint64_t>(bytes);
  }
};

inline PngHeader png_header(const Reader& file) {
  if (file.big32(8) != 13 || !file.starts_with("IHDR", 12)) file.fail("PNG without a header");
  const PngHeader header{file.big32(20), file.big32(16), file.byte(24), file.byte(25),
                         file.byte(28)};
  file.check_size(header.height, header.width);
  const auto depth_is = [&](std::initializer_list<std::uint32_t> depths) {
    return std::find(depths.begin(), depths.end(), header.depth) != depths.end();
  };
  const bool known =
      header.colour == 0 ? depth_is({1, 2, 4, 8, 16})
      : header.colour == 3
          ? depth_is({1, 2, 4, 8})
          : depth_is({8, 16}) && (header.colour == 2 || header.colour == 4 || header.colour == 6);
  if (!known || file.byte(26) != 0 || file.byte(27) != 0 || header.interlaced > 1)
    file.fail("PNG of colour type ", header.colour, " with ", header.depth, " bits, compression ",
              file.byte(26), ", filter ", file.byte(27), ", interlace ", header.interlaced);
  return header;
}

/// Counts what compressed data unpack to, without keeping it.
class InflatedSize {
 public:
  InflatedSize() {
    if (inflateInit(&stream_) != Z_OK) throw std::bad_alloc();
  }
  InflatedSize(const InflatedSize&) = delete;
  InflatedSize& operator=(const InflatedSize&) = delete;
  ~InflatedSize() { inflateEnd(&stream_); }

  /// False if the data are damaged or unpack to more than `most` bytes.
  bool add(const std::uint8_t* data, std::size_t size, std::uint64_t most) {
    stream_.next_in = const_cast<Bytef*>(data);
    stream_.avail_in = static_cast<uInt>(size);
    std::array<std::uint8_t, 32768> rows;
    while (!ended_) {
      stream_.next_out = rows.data();
      stream_.avail_out = static_cast<uInt>(rows.size());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_MEM_ERROR) throw std::bad_alloc();
      bytes_ += rows.size() - stream_.avail_out;
      ended_ = status == Z_STREAM_END;
      if (bytes_ > most || (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR))
        return false;
      if (status == Z_BUF_ERROR || (stream_.avail_in == 0 && stream_.avail_out > 0)) break;
    }
    return true;
  }

  /// Whether the data have come to their end, checksum included.
  bool ended() const { return ended_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  z_stream stream_{};
  std::uint64_t bytes_ = 0;
  bool ended_ = false;
};

}  // namespace detail

/// Throws IoError unless the file is a PNG whose every chunk is whole.
inline Info check_png(const Reader& file) {
  const detail::PngHeader header = detail::png_header(file);
  const std::uint64_t raw = header.raw_bytes();
  detail::InflatedSize inflated;
  bool palette = false, alpha = false, ended = false;
  for (std::size_t at = 8; !ended;) {
    const std::size_t length = file.big32(at);
    file.need(at, 12 + length);
    const std::uint8_t* chunk = file.data() + at + 4;
    if (Crc32().add(chunk, 4 + length).value() != file.big32(at + 8 + length))
      file.fail("damaged PNG: the checksum of the chunk at byte ", at, " is wrong");
    const auto is = [&](const char* type) { return file.starts_with(type, at + 4); };
    if (is("IHDR") != (at == 8)) file.fail("damaged PNG: a second header at byte ", at);
    if (is("PLTE")) {
      if (length == 0 || length > 768 || length % 3 != 0)
        file.fail("damaged PNG: a palette of ", length, " bytes");
      palette = true;
    }
    alpha = alpha || is("tRNS");
    if (is("IDAT") && !inflated.add(chunk + 4, length, raw))
      file.fail("damaged PNG: its data are damaged, or more than its size needs");
    ended = is("IEND");
    at += 12 + length;
  }
  if (!inflated.ended() || inflated.bytes() != raw)
    file.fail("damaged PNG: ", inflated.bytes(), " bytes of pixels, its size needs ", raw);
  if (header.colour == 3 && !palette) file.fail("damaged PNG: no palette");
  const Index colours = header.colour == 3 ? 3 : header.samples();
  return {header.height, header.width, colours % 2 == 1 && alpha ? colours + 1 : colours};
}

}  // namespace ddpm::DDPM_ABI::io::picture
