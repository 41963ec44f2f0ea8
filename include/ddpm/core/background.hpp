// Work that goes on beside the caller's.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <exception>
#include <functional>
#include <thread>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI::detail {

/// Does `work`, which throws nothing, on a thread of its own; at once, if none can be started. No
/// thread is then returned.
inline std::thread in_background(const std::function<void()>& work) {
  try {
    return std::thread(work);
  } catch (const std::exception&) {
    work();
    return {};
  }
}

}  // namespace ddpm::DDPM_ABI::detail
