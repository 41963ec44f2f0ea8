// What the system tells of a file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI::io::system {

using Path = std::filesystem::path;

struct FileStatus {
  bool regular = false;  ///< not a folder, a pipe or a device
  std::uint64_t size = 0, links = 0, file = 0, device = 0;
  unsigned mode = 0;  ///< permissions

  bool same_file(const FileStatus& other) const {
    return file == other.file && device == other.device;
  }
};

}  // namespace ddpm::DDPM_ABI::io::system
