// Locks and fork().
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/version.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace ddpm::DDPM_ABI::detail {

/// From now on calls `before` ahead of each fork(), then `parent` and `child` in the two processes.
/// Where `before` takes a lock, no other thread, which the child does not have, holds it in there
/// for ever. What is registered last is called first before a fork, and last after it.
inline void at_fork([[maybe_unused]] void (*before)(), [[maybe_unused]] void (*parent)(),
                    [[maybe_unused]] void (*child)()) {
#if defined(__unix__) || defined(__APPLE__)
  ::pthread_atfork(before, parent, child);
#endif
}

}  // namespace ddpm::DDPM_ABI::detail
