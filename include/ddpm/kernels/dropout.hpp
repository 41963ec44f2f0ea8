// Dropout (Srivastava et al. 2014), inverted: y = x / (1 - rate) where kept, 0 elsewhere.
//
// The mask is never stored: 16 bits of a Philox stream decide about each element, forward and
// backward alike. The rate is therefore rounded to a multiple of 2^-16.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/core/simd.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Which values are dropped, and what the others are multiplied by.
/// Throws PreconditionError if the rate is not in [0, 1).
template <class T>
class DropoutMask {
 public:
  static constexpr std::size_t lanes = 16;
  static constexpr Index words = 4 * Index{lanes}, values = 2 * words;  // 16 bits decide on a value

  DropoutMask(double rate, const Rng& rng)
      : rng_(rng), dropped_(static_cast<T>(std::min<long>(std::lround(rate * 0x1p16), 0xFFFF))) {
    require(rate >= 0 && rate < 1, "dropout: rate is ", rate, ", expected [0, 1)");
  }

  /// Values [values group, values (group + 1)): their random numbers, half by half, as numbers of
  /// type T, which packs compare: compilers branch at each value instead.
  void draw(Index group, T (&drawn)[2][words]) const {
    const auto random = rng_.blocks<lanes>(static_cast<std::uint64_t>(group) * lanes);
    for (std::size_t w = 0; w < 4; ++w)
      for (std::size_t l = 0; l < lanes; ++l) {
        const auto word = static_cast<std::int32_t>(random.words[w][l]);
        drawn[0][w * lanes + l] = static_cast<T>(word & 0xFFFF);
        drawn[1][w * lanes + l] = static_cast<T>(word >> 16 & 0xFFFF);
      }
  }

  /// A pack of values, from their random numbers.
  simd::Pack<T> operator()(const simd::Pack<T>& v, const simd::Pack<T>& drawn) const {
    using P = simd::Pack<T>;
    return simd::select(drawn < P(dropped_), P(T(0)), v * P(T(1) / (T(1) - dropped_ * T(0x1p-16))));
  }

 private:
  Rng rng_;
  T dropped_;
};

/// Writes y = mask(rng) * x / (1 - rate); the backward pass is the same call on dy. y may alias x.
/// Throws PreconditionError if shapes disagree or rate is not in [0, 1).
template <class T>
void dropout(View<const T> x, double rate, const Rng& rng, View<T> y) {
  require_shape("dropout: y", y.shape, x.shape);
  const DropoutMask<T> drop(rate, rng);
  constexpr Index block = 4096, values = DropoutMask<T>::values, words = DropoutMask<T>::words;
  static_assert(block % values == 0);
  parallel_for((x.size() + block - 1) / block, [&](Index task) {
    const Index last = std::min(x.size(), (task + 1) * block);
    for (Index i = task * block; i < last; i += values) {
      T drawn[2][words];
      drop.draw(i / values, drawn);
      for (Index half = 0; half < 2; ++half)
        if (const Index first = i + half * words; first < last)
          simd::map(drop, std::min(words, last - first), y.data + first, x.data + first,
                    std::as_const(drawn[half]));
    }
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
