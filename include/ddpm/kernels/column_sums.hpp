// Sums over pixels: the gradient of whatever was broadcast over them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::inline DDPM_ABI::kernels {

/// Writes sums of x (N, ..., C): over all but the last axis if sums is (C); within each image if it
/// is (N, C). Images are added in index order.
template <class T>
void column_sums(View<const T> x, View<T> sums) {
  const Index N = x.dim(0), C = x.shape.back(), P = N * C == 0 ? 0 : x.size() / (N * C);
  const bool per_image = sums.shape.rank() == 2;
  Scratch<T> scratch(per_image ? 0 : N * C);
  T* rows = per_image ? sums.data : scratch.data();
  const auto add = [](auto sum, auto value) { return sum + value; };
  parallel_for(N, [&](Index n) {
    T* row = rows + n * C;
    std::fill_n(row, C, T(0));
    for (Index p = 0; p < P; ++p) simd::map(add, C, row, row, x.row(n * P + p));
  });
  if (per_image) return;
  std::fill_n(sums.data, C, T(0));
  for (Index n = 0; n < N; ++n) simd::map(add, C, sums.data, sums.data, rows + n * C);
}

}  // namespace ddpm::inline DDPM_ABI::kernels
