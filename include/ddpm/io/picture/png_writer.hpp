// Pixels as a PNG (ISO 15948).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <zlib.h>

#include <cstdlib>
#include <new>

#include "ddpm/io/picture/png.hpp"

namespace ddpm::DDPM_ABI::io::picture {

namespace detail {

/// What a PNG's filter of that type takes a byte for, from its neighbours (section 9).
inline int png_prediction(int filter, int left, int above, int corner) {
  const int estimate = left + above - corner;
  const int from_left = std::abs(estimate - left), from_above = std::abs(estimate - above);
  switch (filter) {
    case 1: return left;
    case 2: return above;
    case 3: return (left + above) / 2;
    case 4:
      if (from_left <= from_above && from_left <= std::abs(estimate - corner)) return left;
      return from_above <= std::abs(estimate - corner) ? above : corner;
    default: return 0;
  }
}

/// All rows, each behind the number of that filter which leaves the smallest bytes.
inline std::vector<std::uint8_t> png_rows(const std::vector<std::uint8_t>& pixels, Index height,
                                          Index bytes_per_row, Index channels) {
  std::vector<std::uint8_t> rows, row(static_cast<std::size_t>(bytes_per_row) + 1), best;
  rows.reserve(static_cast<std::size_t>(height) * row.size());
  for (Index h = 0; h < height; ++h) {
    const std::uint8_t* now = pixels.data() + h * bytes_per_row;
    Index smallest = std::numeric_limits<Index>::max();
    for (int filter = 0; filter < 5; ++filter) {
      row[0] = static_cast<std::uint8_t>(filter);
      Index sum = 0;
      for (Index i = 0; i < bytes_per_row; ++i) {
        const bool first = i < channels;
        const int left = first ? 0 : now[i - channels], above = h > 0 ? now[i - bytes_per_row] : 0;
        const int corner = first || h == 0 ? 0 : now[i - bytes_per_row - channels];
        const int rest = now[i] - png_prediction(filter, left, above, corner);
        row[static_cast<std::size_t>(i) + 1] = static_cast<std::uint8_t>(rest);
        sum += std::abs(static_cast<std::int8_t>(static_cast<std::uint8_t>(rest)));
      }
      if (sum < smallest) {
        smallest = sum;
        best = row;
      }
    }
    rows.insert(rows.end(), best.begin(), best.end());
  }
  return rows;
}

inline void append_big32(std::vector<std::uint8_t>& bytes, std::size_t value) {
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
}

inline void append_png_chunk(std::vector<std::uint8_t>& bytes, std::string_view type,
                             const std::vector<std::uint8_t>& data) {
  append_big32(bytes, data.size());
  bytes.insert(bytes.end(), type.begin(), type.end());
  bytes.insert(bytes.end(), data.begin(), data.end());
  append_big32(bytes, Crc32().add(type.data(), type.size()).add(data.data(), data.size()).value());
}

}  // namespace detail

/// The file of a picture of `channels` channels, 1 (grey) or 3 (RGB), from its pixels
/// (height, width, channels). Throws std::bad_alloc.
inline std::vector<std::uint8_t> encode_png(const std::vector<std::uint8_t>& pixels, Index height,
                                            Index width, Index channels) {
  const auto rows = detail::png_rows(pixels, height, width * channels, channels);
  uLongf size = compressBound(static_cast<uLong>(rows.size()));
  std::vector<std::uint8_t> packed(size);
  if (compress2(packed.data(), &size, rows.data(), static_cast<uLong>(rows.size()), 9) != Z_OK)
    throw std::bad_alloc();
  packed.resize(size);
  std::vector<std::uint8_t> header;
  detail::append_big32(header, static_cast<std::size_t>(width));
  detail::append_big32(header, static_cast<std::size_t>(height));
  for (const int field : {8, channels == 1 ? 0 : 2, 0, 0, 0})  // bits, colour type, methods
    header.push_back(static_cast<std::uint8_t>(field));
  std::vector<std::uint8_t> file(png_signature.begin(), png_signature.end());
  detail::append_png_chunk(file, "IHDR", header);
  detail::append_png_chunk(file, "IDAT", packed);
  detail::append_png_chunk(file, "IEND", {});
  return file;
}

}  // namespace ddpm::DDPM_ABI::io::picture
