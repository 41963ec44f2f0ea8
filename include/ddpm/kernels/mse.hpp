// Mean squared error of each of N equal parts: l_n = mean((a_n - b_n)^2).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/elementwise.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Writes losses (N) of a and b, cut into N parts; N = 1 takes them whole. Blocks are added in
/// double and in index order. Throws PreconditionError if shapes disagree or are empty.
template <class T>
void mse_forward(View<const T> a, View<const T> b, View<T> losses) {
  require_shape("mse: b", b.shape, a.shape);
  const Index N = losses.size(), size = N > 0 ? a.size() / N : 0;
  require(size > 0 && size * N == a.size(), "mse: ", N, " losses of ", a.shape);
  constexpr Index block = 2048;  // sums in T are this long, then in double
  const Index blocks = (size + block - 1) / block;
  Scratch<double> sums(N * blocks);
  parallel_for(N * blocks, [&](Index i) {
    const Index from = i % blocks * block, count = std::min(block, size - from);
    const Index first = i / blocks * size + from;
    const auto square = [](const auto& u, const auto& v) { return (u - v) * (u - v); };
    sums[i] = double(simd::sum(square, count, a.data + first, b.data + first));
  });
  for (Index n = 0; n < N; ++n) {
    double total = 0;
    for (Index i = 0; i < blocks; ++i) total += sums[n * blocks + i];
    losses[n] = static_cast<T>(total / double(size));
  }
}

/// With L = <dlosses, losses>, writes da and db = -da; an empty view is not needed.
template <class T>
void mse_backward(View<const T> dlosses, View<const T> a, View<const T> b, View<T> da, View<T> db) {
  require_shape("mse_backward: b", b.shape, a.shape);
  require_shape_if_given("mse_backward: da", da, a.shape);
  require_shape_if_given("mse_backward: db", db, a.shape);
  const Index N = dlosses.size(), size = N > 0 ? a.size() / N : 0;
  require(size > 0 && size * N == a.size(), "mse_backward: ", N, " losses of ", a.shape);
  const auto run = [&](View<const T> u, View<const T> v, View<T> out) {
    if (out.empty()) return;
    constexpr Index block = 8192;
    const Index blocks = (size + block - 1) / block;
    parallel_for(N * blocks, [&](Index i) {
      const Index from = i % blocks * block, first = i / blocks * size + from;
      const T factor = 2 * dlosses[i / blocks] / static_cast<T>(size);
      const auto f = [=](const auto& x, const auto& y) { return (x - y) * factor; };
      simd::map<T>(f, std::min(block, size - from), out.data + first, u.data + first,
                   v.data + first);
    });
  };
  run(a, b, da);
  run(b, a, db);
}

}  // namespace ddpm::DDPM_ABI::kernels
