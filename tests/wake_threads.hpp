// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/ddpm.hpp>

#include <atomic>
#include <thread>

/// Lets every thread use its scratch memory: one that a busy machine starts late would otherwise do
/// so for the first time, which allocates, when a test has begun to count.
inline void wake_threads() {
  std::atomic<int> here{0};
  ddpm::parallel_for(ddpm::num_threads(), [&](ddpm::Index) {
    const ddpm::Scratch<float> scratch(1);
    ++here;
    while (here < ddpm::num_threads()) std::this_thread::yield();
  });
}
