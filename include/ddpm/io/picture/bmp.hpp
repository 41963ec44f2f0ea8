// A strict look at a BMP (Windows' bitmaps, headers of 12 to 124 bytes) before a decoder sees it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

/// Throws IoError unless the file is an uncompressed BMP that holds all its rows.
inline Info check_bmp(const Reader& file) {
  const std::size_t offset = file.little32(10), header = file.little32(14);
  const bool old = header == 12;
  if (!old && header != 40 && header != 56 && header != 108 && header != 124)
    file.fail("BMP with a header of ", header, " bytes");
  file.need(14, header);
  const auto whole = [&](std::size_t at) {
    return old ? Index{static_cast<std::int16_t>(file.little16(at))}
               : Index{static_cast<std::int32_t>(file.little32(at))};
  };
  const Index width = whole(18), rows = whole(old ? 20 : 22), height = rows < 0 ? -rows : rows;
  file.check_size(height, width);
  const std::uint32_t planes = file.little16(old ? 22 : 26), bits = file.little16(old ? 24 : 28);
  const std::uint32_t compression = old ? 0 : file.little32(30);
  const bool masks = compression == 3 && (bits == 16 || bits == 32);
  if (planes != 1 ||
      (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32))
    file.fail("damaged BMP: ", planes, " planes of ", bits, " bits");
  if (compression != 0 && !masks) file.fail("a compressed BMP, which is not read");
  const std::size_t colours = bits > 8 ? 0 : std::size_t{1} << bits;
  if (offset < 14 + header + (masks && header == 40 ? 12 : 0) ||
      (colours > 0 && offset < 14 + header + (old ? 3 : 4)) || offset > 14 + header + 1024 + 16)
    file.fail("damaged BMP: its pixels are said to begin at byte ", offset);
  const std::size_t row = (static_cast<std::size_t>(width) * bits + 31) / 32 * 4;
  file.need(offset, row * static_cast<std::size_t>(height));
  return {height, width, bits == 32 ? 4 : 3};
}

}  // namespace ddpm::DDPM_ABI::io::picture
