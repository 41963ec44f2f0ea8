// Clipping of the gradients' global norm (Pascanu, Mikolov, Bengio 2013).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "ddpm/core/elementwise.hpp"
#include "ddpm/core/scratch.hpp"
#include "ddpm/optim/blocks.hpp"

namespace ddpm::DDPM_ABI::optim {

/// The Euclidean norm of all gradients together. Blocks are added in double and in index order.
template <class T>
double grad_norm(const std::vector<Variable<T>>& parameters) {
  constexpr Index block = 2048;  // sums in T are this long, then in double
  double total = 0;
  for (const auto& parameter : parameters) {
    const Tensor<T> grad = parameter.grad();
    if (grad.empty()) continue;
    const Index blocks = (grad.size() + block - 1) / block;
    Scratch<double> sums(blocks);
    parallel_for(blocks, [&](Index i) {
      const Index first = i * block, count = std::min(block, grad.size() - first);
      const auto square = [](const auto& g) { return g * g; };
      sums[i] = double(simd::sum(square, count, grad.data() + first));
    });
    for (Index i = 0; i < blocks; ++i) total += sums[i];
  }
  return std::sqrt(total);
}

/// What gradients of this norm are multiplied with: max_norm / norm if that is below 1, else 1; 1
/// also if the norm is not finite.
inline double clip_factor(double norm, double max_norm) {
  return std::isfinite(norm) && norm > max_norm ? max_norm / norm : 1;
}

/// Scales all gradients by clip_factor() and returns their norm before. Throws PreconditionError
/// unless max_norm > 0 (infinity: measure only).
template <class T>
double clip_grad_norm(const std::vector<Variable<T>>& parameters, double max_norm) {
  require(max_norm > 0, "clip_grad_norm: max_norm is ", max_norm, ", must be positive");
  const double norm = grad_norm(parameters);
  if (clip_factor(norm, max_norm) == 1) return norm;
  const T factor = static_cast<T>(max_norm / norm);
  for (const auto& parameter : parameters)
    if (!parameter.grad().empty())
      elementwise<T>([=](const auto& g) { return g * factor; }, parameter.grad().view(),
                     parameter.grad());
  return norm;
}

}  // namespace ddpm::DDPM_ABI::optim
