// Netpbm's raw grey and colour pictures, P5 and P6, of up to 16 bits a sample.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/io/picture/reader.hpp"

namespace ddpm::DDPM_ABI::io::picture {

namespace detail {

struct PnmHeader {
  Index height, width, channels, maximum;
  std::size_t size;  ///< bytes before the pixels
};

inline PnmHeader pnm_header(const Reader& file) {
  std::size_t at = 2;
  const auto is_space = [&] {
    const std::uint32_t c = file.byte(at);
    return c == ' ' || (c >= '\t' && c <= '\r');
  };
  const auto number = [&](const char* what, Index most) {
    if (!is_space() && file.byte(at) != '#') file.fail("damaged PNM: no space at byte ", at);
    while (is_space() || file.byte(at) == '#')
      if (file.byte(at++) == '#')
        while (file.byte(at) != '\n' && file.byte(at) != '\r') ++at;
    Index value = 0;
    const std::size_t first = at;
    for (; file.byte(at) >= '0' && file.byte(at) <= '9' && value <= most; ++at)
      value = 10 * value + static_cast<Index>(file.byte(at) - '0');
    if (at == first || value < 1 || value > most)
      file.fail("PNM with a ", what, " of ", value, ", expected 1 to ", most);
    return value;
  };
  PnmHeader header{};
  header.channels = file.byte(1) == '6' ? 3 : 1;
  header.width = number("width", most_side);
  header.height = number("height", most_side);
  header.maximum = number("largest value", 65535);
  if (!is_space()) file.fail("damaged PNM: no space at byte ", at);
  header.size = at + 1;
  file.check_size(header.height, header.width);
  return header;
}

}  // namespace detail

/// Throws IoError unless the file is such a picture and holds all its pixels.
inline Info check_pnm(const Reader& file) {
  const auto header = detail::pnm_header(file);
  const Index samples = header.height * header.width * header.channels;
  file.need(header.size, static_cast<std::size_t>(samples * (header.maximum > 255 ? 2 : 1)));
  return {header.height, header.width, header.channels};
}

/// The pixels of a picture that check_pnm() has passed, (height, width, channels) in 0 to 255.
/// Samples above the picture's largest value count as that.
inline std::vector<std::uint8_t> decode_pnm(const Reader& file) {
  const auto header = detail::pnm_header(file);
  std::vector<std::uint8_t> pixels(
      static_cast<std::size_t>(header.height * header.width * header.channels));
  const std::uint8_t* in = file.data() + header.size;
  for (std::uint8_t& pixel : pixels) {
    Index value = *in++;
    if (header.maximum > 255) value = value << 8 | *in++;
    value = std::min(value, header.maximum);
    pixel = static_cast<std::uint8_t>((value * 255 + header.maximum / 2) / header.maximum);
  }
  return pixels;
}

}  // namespace ddpm::DDPM_ABI::io::picture
