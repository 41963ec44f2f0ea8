// Dropout (Srivastava et al. 2014), inverted: y = x / (1 - rate) where kept, 0 elsewhere.
//
// The mask is never stored: element i takes word i of a Philox stream, forward and backward alike.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/random.hpp"

namespace ddpm::inline DDPM_ABI::kernels {

/// Writes y = mask(rng) * x / (1 - rate); the backward pass is the same call on dy. y may alias x.
/// Throws PreconditionError if shapes disagree or rate is not in [0, 1).
template <class T>
void dropout(View<const T> x, double rate, const Rng& rng, View<T> y) {
  require_shape("dropout: y", y.shape, x.shape);
  require(rate >= 0 && rate < 1, "dropout: rate is ", rate, ", expected [0, 1)");
  const auto dropped = static_cast<std::uint32_t>(rate * 0x1p32);
  const T factor = static_cast<T>(1 / (1 - rate));
  constexpr Index block = 4096;
  constexpr std::size_t lanes = 16;  // 64 words at a time
  parallel_for((x.size() + block - 1) / block, [&](Index task) {
    const Index last = std::min(x.size(), (task + 1) * block);
    for (Index i = task * block; i < last; i += 4 * lanes) {
      const auto random = rng.blocks<lanes>(static_cast<std::uint64_t>(i / 4));
      std::uint32_t words[4 * lanes];
      for (std::size_t l = 0; l < lanes; ++l)
        for (std::size_t w = 0; w < 4; ++w)
          words[4 * l + w] = static_cast<std::uint32_t>(random.words[w][l]);
      const Index count = std::min<Index>(4 * lanes, last - i);
      for (Index j = 0; j < count; ++j) y[i + j] = words[j] < dropped ? T(0) : x[i + j] * factor;
    }
  });
}

}  // namespace ddpm::inline DDPM_ABI::kernels
