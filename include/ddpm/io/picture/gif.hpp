// A strict look at a GIF (GIF89a) before a decoder sees it, as far as its first picture.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

/// Throws IoError unless the file is a GIF whose first picture is whole.
inline Info check_gif(const Reader& file) {
  const Index width = file.little16(6), height = file.little16(8);
  file.check_size(height, width);
  const auto palette_bytes = [](std::uint32_t flags) {
    return (flags & 0x80) != 0 ? std::size_t{3} << ((flags & 7) + 1) : 0;
  };
  std::size_t at = 13 + palette_bytes(file.byte(10));
  const auto pass_blocks = [&] {
    for (std::size_t length = 1; length > 0;) {
      length = file.byte(at);
      at += 1 + length;
    }
    file.need(at - 1, 1);
  };
  while (file.byte(at) == '!') {  // extensions
    at += 2;
    pass_blocks();
  }
  if (file.byte(at) != ',') file.fail("damaged GIF: no picture at byte ", at);
  const Index left = file.little16(at + 1), top = file.little16(at + 3);
  const Index columns = file.little16(at + 5), rows = file.little16(at + 7);
  const std::uint32_t flags = file.byte(at + 9);
  if (columns < 1 || rows < 1 || left + columns > width || top + rows > height)
    file.fail("damaged GIF: a picture of ", columns, " x ", rows, " at ", left, ", ", top, " of ",
              width, " x ", height);
  if (palette_bytes(flags) == 0 && palette_bytes(file.byte(10)) == 0)
    file.fail("damaged GIF: no palette");
  at += 10 + palette_bytes(flags);
  if (file.byte(at) < 1 || file.byte(at) > 8)
    file.fail("damaged GIF: codes of ", file.byte(at), " bits");
  ++at;
  pass_blocks();
  return {height, width, 4};
}

}  // namespace ddpm::DDPM_ABI::io::picture
