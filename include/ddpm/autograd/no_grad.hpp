// NoGrad: a scope in which no graph is built, for sampling and evaluation.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scoped.hpp"

namespace ddpm::DDPM_ABI {

namespace detail {
inline thread_local bool grad_is_enabled = true;
}

/// Whether ops on this thread record their derivative.
inline bool grad_enabled() { return detail::grad_is_enabled; }

/// Ops of this thread record nothing while an object of this kind lives. Scopes nest.
class NoGrad : detail::Scoped<bool> {
 public:
  NoGrad() : Scoped(detail::grad_is_enabled, false) {}
};

}  // namespace ddpm::DDPM_ABI
