// One loop over equally long arrays, in packs and on all threads.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI {

/// out[i] = f(in[i]...); f takes and returns packs, the inputs are tensors or views of T. out may
/// be one of the inputs. Throws PreconditionError if sizes differ.
template <class T, class F, class... In>
void elementwise(const F& f, View<T> out, const In&... in) {
  const auto run = [&](const auto&... views) {
    (require(views.size() == out.size(), "elementwise: sizes ", views.shape, " and ", out.shape),
     ...);
    constexpr Index block = 8192;  // 32 KB of float: large against the cost of handing out a task
    parallel_for((out.size() + block - 1) / block, [&](Index task) {
      const Index first = task * block, count = std::min(block, out.size() - first);
      simd::map<T>(f, count, out.data + first, views.data + first...);
    });
  };
  run(View<const T>(in)...);
}

}  // namespace ddpm::DDPM_ABI
