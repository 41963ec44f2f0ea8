// How much memory a training takes.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>

#include "ddpm/core/memory.hpp"
#include "ddpm/io/system.hpp"

namespace ddpm::DDPM_ABI {

/// Bytes that a training holds at its peak.
struct MemoryNeed {
  std::size_t model = 0;   ///< weights, their average, Adam's two moments
  std::size_t step = 0;    ///< gradients, activations and the room that kernels work in
  std::size_t saving = 0;  ///< copies of the model, to be written while training goes on

  std::size_t total() const { return model + step + saving; }
};

/// "1.25 GB", three digits
inline std::string bytes_text(std::size_t count) {
  const auto bytes = static_cast<double>(count);
  const char* unit = bytes < 1e9 ? "MB" : "GB";
  char text[32];
  std::snprintf(text, sizeof text, "%.3g %s", bytes / (bytes < 1e9 ? 1e6 : 1e9), unit);
  return text;
}

/// Bytes of memory that this process holds; where the system does not tell, those of its arrays.
inline std::size_t process_bytes() {
  const std::size_t resident = io::system::resident_bytes();
  return resident > 0 ? resident : memory::statistics().bytes_touched;
}

}  // namespace ddpm::DDPM_ABI
