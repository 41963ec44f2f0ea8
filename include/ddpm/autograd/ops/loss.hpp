// Losses as differentiable ops. Maths: kernels/mse.hpp, kernels/cross_entropy.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/cross_entropy.hpp"
#include "ddpm/kernels/mse.hpp"

namespace ddpm::DDPM_ABI {

/// mean((a - b)^2) of each of `parts` equal runs of values, shape (parts).
/// Throws PreconditionError if shapes differ, are empty, or do not split.
template <class T>
Variable<T> mse_loss(const Variable<T>& a, const Variable<T>& b, Index parts = 1) {
  Tensor<T> losses({parts});
  kernels::mse_forward<T>(a.view(), b.view(), losses);
  const auto backward = [=](const Tensor<T>& dlosses) -> Gradients<T, 2> {
    const Tensor<T> da = a.new_grad(), db = b.new_grad();
    kernels::mse_backward<T>(dlosses, a.view(), b.view(), da, db);
    return {da, db};
  };
  return Variable<T>::output(losses, {a, b}, backward);
}

/// -log softmax(logits) at the label of each row, shape (N).
///   logits  N rows of K, (N, K) or (N, 1, 1, K);  labels  N, each in [0, K)
/// Throws PreconditionError if shapes disagree or a label is out of range.
template <class T>
Variable<T> cross_entropy(const Variable<T>& logits, std::span<const Index> labels) {
  Tensor<T> losses({std::ssize(labels)});
  kernels::cross_entropy_forward<T>(logits.view(), labels, losses);
  const auto backward = [logits, kept = PooledVector<Index>(labels.begin(), labels.end())](
                            const Tensor<T>& dlosses) -> Gradients<T, 1> {
    const Tensor<T> dlogits = logits.new_grad();
    kernels::cross_entropy_backward<T>(dlosses, logits.view(), kept, dlogits);
    return {dlogits};
  };
  return Variable<T>::output(losses, {logits}, backward);
}

/// sum_n weights_n losses_n / N, shape (1), for losses (N) and N weights.
/// Throws PreconditionError if shapes differ or are empty.
template <class T>
Variable<T> weighted_mean(const Variable<T>& losses, const Tensor<T>& weights) {
  require(weights.size() > 0, "weighted_mean: no weights");
  require_shape("weighted_mean: losses", losses.shape(), weights.shape());
  const double N = static_cast<double>(weights.size());
  double sum = 0;
  for (Index n = 0; n < weights.size(); ++n) sum += double(weights[n]) * double(losses.value()[n]);
  const auto backward = [=](const Tensor<T>& dmean) -> Gradients<T, 1> {
    Tensor<T> dlosses(weights.shape());
    kernels::scale<T>(weights, dmean[0] / static_cast<T>(N), dlosses);
    return {dlosses};
  };
  return Variable<T>::output(Tensor<T>({1}, static_cast<T>(sum / N)), {losses}, backward);
}

}  // namespace ddpm::DDPM_ABI
