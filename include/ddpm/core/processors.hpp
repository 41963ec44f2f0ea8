// How many processors this process may use.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <thread>

#include "ddpm/version.hpp"

#ifdef __linux__
#include <sched.h>
#endif

namespace ddpm::DDPM_ABI::detail {

/// Those it is bound to, by taskset or mpirun, say, where the system tells; else those of the
/// machine. At least 1.
inline int available_processors() {
#ifdef __linux__
  ::cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace ddpm::DDPM_ABI::detail
