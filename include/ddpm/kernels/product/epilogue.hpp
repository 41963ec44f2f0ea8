// What a product or convolution does with its finished sums: y = sums + bias + residual.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

template <class T>
struct Epilogue {
  View<const T> bias;           ///< (C), (N, C) with a row for each image, or empty
  const T* residual = nullptr;  ///< laid out as y, or null
  T* y = nullptr;

  /// The bias of image n, null if there is none.
  const T* bias_of(Index n) const {
    return bias.data + (bias.shape.rank() == 2 ? n * bias.dim(1) : 0);
  }
  const T* residual_at(Index place) const { return residual ? residual + place : nullptr; }
};

namespace detail {
// A call of its own, so that the whole packs around it keep their registers.
template <class T>
[[gnu::noinline]] void write_part(simd::Pack<T> sums, Index count, const T* bias, const T* residual,
                                  T* y) {
  if (bias) sums += simd::load_partial(bias, count);
  if (residual) sums += simd::load_partial(residual, count);
  simd::store_partial(y, sums, count);
}
}  // namespace detail

/// Writes the first `count` <= width values of a pack of sums to y; bias and residual may be null.
/// Inlined by force: as a call, which g++ 12 makes of it with AVX2, it costs 3 % of a U-Net.
template <class T>
[[gnu::always_inline]] inline void write_sums(simd::Pack<T> sums, Index count, const T* bias,
                                              const T* residual, T* y) {
  if (count < simd::width<T>) return detail::write_part(sums, count, bias, residual, y);
  if (bias) sums += simd::load(bias);
  if (residual) sums += simd::load(residual);
  simd::store(y, sums);
}

/// The same of one sum.
template <class T>
void write_sum(T sum, const T* bias, const T* residual, T* y) {
  if (bias) sum += *bias;
  if (residual) sum += *residual;
  *y = sum;
}

}  // namespace ddpm::DDPM_ABI::kernels
