// Dropout (Srivastava et al. 2014), inverted: y = x / (1 - rate) where kept, 0 elsewhere.
//
// The mask is never stored: 16 bits of a Philox stream decide about each element, forward and
// backward alike. The rate is therefore rounded to a multiple of 2^-16.
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
  const std::uint32_t dropped =
      std::min<std::uint32_t>(static_cast<std::uint32_t>(std::lround(rate * 0x1p16)), 0xFFFF);
  const T factor = static_cast<T>(1 / (1 - dropped * 0x1p-16));
  constexpr Index block = 4096;
  constexpr std::size_t lanes = 16;
  constexpr Index words = 4 * Index{lanes}, values = 2 * words;  // 16 bits decide about a value
  static_assert(block % values == 0);
  parallel_for((x.size() + block - 1) / block, [&](Index task) {
    const Index last = std::min(x.size(), (task + 1) * block);
    for (Index i = task * block; i < last; i += values) {
      const auto random = rng.blocks<lanes>(static_cast<std::uint64_t>(i / values) * lanes);
      std::uint32_t word[words];
      for (std::size_t l = 0; l < lanes; ++l)
        for (std::size_t w = 0; w < 4; ++w)
          word[w * lanes + l] = static_cast<std::uint32_t>(random.words[w][l]);
      const auto run = [&](Index first, int shift) {
        const Index count = std::min(words, last - first);
        for (Index j = 0; j < count; ++j) {
          const std::uint32_t half = word[j] >> shift & 0xFFFF;
          y[first + j] = half < dropped ? T(0) : x[first + j] * factor;
        }
      };
      run(i, 0);
      run(i + words, 16);
    }
  });
}

}  // namespace ddpm::inline DDPM_ABI::kernels
