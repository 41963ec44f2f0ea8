// Mean squared error: L = mean((a - b)^2).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/elementwise.hpp"

namespace ddpm::inline DDPM_ABI::kernels {

/// The mean squared difference. Blocks are added in double and in index order.
/// Throws PreconditionError if shapes disagree or are empty.
template <class T>
T mse_forward(View<const T> a, View<const T> b) {
  require_shape("mse: b", b.shape, a.shape);
  require(a.size() > 0, "mse: no elements in ", a.shape);
  constexpr Index block = 4096;
  const Index blocks = (a.size() + block - 1) / block;
  Scratch<double> sums(blocks);
  parallel_for(blocks, [&](Index i) {
    const Index first = i * block, count = std::min(block, a.size() - first);
    const auto square = [](const auto& u, const auto& v) { return (u - v) * (u - v); };
    sums[i] = double(simd::sum(square, count, a.data + first, b.data + first));
  });
  double total = 0;
  for (Index i = 0; i < blocks; ++i) total += sums[i];
  return static_cast<T>(total / double(a.size()));
}

/// Writes da = 2 dy (a - b) / size and db = -da; an empty view is not needed.
template <class T>
void mse_backward(T dy, View<const T> a, View<const T> b, View<T> da, View<T> db) {
  const T factor = 2 * dy / static_cast<T>(a.size());
  const auto up = [=](const auto& u, const auto& v) { return (u - v) * factor; };
  const auto down = [=](const auto& u, const auto& v) { return (v - u) * factor; };
  if (!da.empty()) elementwise<T>(up, da, a, b);
  if (!db.empty()) elementwise<T>(down, db, a, b);
}

}  // namespace ddpm::inline DDPM_ABI::kernels
