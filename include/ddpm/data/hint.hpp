// What a file most often is that is not the data that it should be.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::data {

/// "; it is a web page", or nothing if no guess fits.
inline std::string file_hint(const io::Bytes& bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string_view start = text.substr(0, 64);
  const auto first = start.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && start[first] == '<' && first + 1 < start.size() &&
      std::string_view("!?hH").find(start[first + 1]) != std::string_view::npos)
    return "; it is a web page";
  if (start.starts_with("version https://git-lfs")) return "; it is a Git LFS pointer";
  if (text.size() > 262 && text.substr(257, 5) == "ustar")
    return "; it is a tar archive: unpack it";
  if (start.starts_with("PK\x03\x04")) return "; it is a zip archive: unpack it";
  if (start.starts_with("\x80\x02") || start.starts_with("\x80\x03") ||
      start.starts_with("\x80\x04"))
    return "; it is the Python version, a pickle: take the binary one";
  if (start.starts_with("\x89PNG") || start.starts_with("\xff\xd8")) return "; it is a picture";
  return "";
}

}  // namespace ddpm::DDPM_ABI::data
