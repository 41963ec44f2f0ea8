// Sums over pixels: the gradient of whatever was broadcast over them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// sums (C) of rows (count, C): sums of sums over 32 rows, so that rounding errors grow little.
template <class T>
void sum_rows(const T* rows, Index count, Index C, T* sums) {
  simd::for_each_strip<T>(C, [&](const auto& strip) {
    constexpr int packs = std::decay_t<decltype(strip)>::packs;
    constexpr Index together = 32;
    simd::Pack<T> sum[packs];
    for (auto& s : sum) s = simd::Pack<T>(T(0));
    for (Index first = 0; first < count; first += together) {
      simd::Pack<T> part[packs];
      for (auto& s : part) s = simd::Pack<T>(T(0));
      for (Index p = first; p < std::min(count, first + together); ++p)
        for (int q = 0; q < packs; ++q) part[q] += strip.load(rows + p * C, q);
      for (int q = 0; q < packs; ++q) sum[q] += part[q];
    }
    for (int q = 0; q < packs; ++q) strip.store(sums, q, sum[q]);
  });
}

/// The same; rows of less than a pack are taken by so many that they fill packs.
template <class T>
void sum_narrow_rows(const T* rows, Index count, Index C, T* sums) {
  constexpr Index together = simd::width<T>;
  const Index wide = together * C, whole = count / together;
  Scratch<T> parts(wide);
  sum_rows(rows, whole, wide, parts.data());
  sum_rows(rows + whole * wide, count - whole * together, C, sums);
  for (Index i = 0; i < wide; ++i) sums[i % C] += parts[i];
}

}  // namespace detail

/// Writes sums of x (N, ..., C): over all but the last axis if sums is (C); within each image if it
/// is (N, C). Images are added in index order.
template <class T>
void column_sums(View<const T> x, View<T> sums) {
  require(x.shape.rank() >= 2, "column_sums: x is ", x.shape, ", expected (N, ..., C)");
  const Index N = x.dim(0), C = x.shape.back(), P = N * C == 0 ? 0 : x.size() / (N * C);
  const bool per_image = sums.shape.rank() == 2;
  require_shape("column_sums: sums", sums.shape, per_image ? Shape{N, C} : Shape{C});
  Scratch<T> scratch(per_image ? 0 : N * C);
  T* rows = per_image ? sums.data : scratch.data();
  const auto sum = C < simd::width<T> ? detail::sum_narrow_rows<T> : detail::sum_rows<T>;
  parallel_for(N, [&](Index n) { sum(x.row(n * P), P, C, rows + n * C); });
  if (!per_image) detail::sum_rows<T>(rows, N, C, sums.data);
}

}  // namespace ddpm::DDPM_ABI::kernels
