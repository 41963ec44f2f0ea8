// Cross-entropy of classes: l_n = log sum_k exp(x_nk) - x_n,label.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// log sum exp of a row, without overflow.
template <class T>
double log_sum_exp(const T* row, Index count) {
  const double largest = double(*std::max_element(row, row + count));
  double sum = 0;
  for (Index k = 0; k < count; ++k) sum += std::exp(double(row[k]) - largest);
  return largest + std::log(sum);
}

inline void check_label(Index n, Index label, Index K) {
  require(label >= 0 && label < K, "cross_entropy: label ", n, " is ", label, ", expected 0 to ",
          K - 1);
}

}  // namespace detail

/// Writes losses (N) of logits x (N, ..., K) that are N rows of K, for N labels in [0, K).
/// Throws PreconditionError if shapes disagree or a label is out of range.
template <class T>
void cross_entropy_forward(View<const T> x, std::span<const Index> labels, View<T> losses) {
  const Index N = losses.size(), K = x.shape.rank() > 0 ? x.shape.back() : 0;
  require(N > 0 && x.size() == N * K && std::ssize(labels) == N, "cross_entropy: logits are ",
          x.shape, " for ", labels.size(), " labels");
  for (Index n = 0; n < N; ++n) {
    const Index label = labels[static_cast<std::size_t>(n)];
    detail::check_label(n, label, K);
    losses[n] = static_cast<T>(detail::log_sum_exp(x.row(n), K) - double(x.row(n)[label]));
  }
}

/// With L = <dlosses, losses>, writes dx = dlosses (softmax(x) - one at the label).
template <class T>
void cross_entropy_backward(View<const T> dlosses, View<const T> x, std::span<const Index> labels,
                            View<T> dx) {
  const Index N = dlosses.size(), K = x.shape.rank() > 0 ? x.shape.back() : 0;
  require(x.size() == N * K && std::ssize(labels) == N, "cross_entropy_backward: logits are ",
          x.shape, ", ", labels.size(), " labels, ", N, " gradients");
  require_shape("cross_entropy_backward: dx", dx.shape, x.shape);
  for (Index n = 0; n < N; ++n) {
    const Index label = labels[static_cast<std::size_t>(n)];
    detail::check_label(n, label, K);
    const double total = detail::log_sum_exp(x.row(n), K);
    for (Index k = 0; k < K; ++k) {
      const double one = k == label ? 1 : 0;
      dx.row(n)[k] =
          static_cast<T>(double(dlosses[n]) * (std::exp(double(x.row(n)[k]) - total) - one));
    }
  }
}

}  // namespace ddpm::DDPM_ABI::kernels
