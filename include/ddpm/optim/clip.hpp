// Clipping of the gradients' global norm (Pascanu, Mikolov, Bengio 2013).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "ddpm/core/elementwise.hpp"
#include "ddpm/core/scratch.hpp"
#include "ddpm/optim/blocks.hpp"

namespace ddpm::inline DDPM_ABI::optim {

/// Scales all gradients by max_norm / norm if their common Euclidean norm is above max_norm, and
/// returns the norm before. Blocks are added in double and in index order. A norm that is not
/// finite is returned, and the gradients are left alone. Throws PreconditionError unless max_norm >
/// 0 (infinity: measure only).
template <class T>
double clip_grad_norm(const std::vector<Variable<T>>& parameters, double max_norm) {
  require(max_norm > 0, "clip_grad_norm: max_norm is ", max_norm, ", must be positive");
  constexpr Index block = 16384;
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
  const double norm = std::sqrt(total);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  const T factor = static_cast<T>(max_norm / norm);
  for (const auto& parameter : parameters)
    if (!parameter.grad().empty())
      elementwise<T>([=](const auto& g) { return g * factor; }, parameter.grad().view(),
                     parameter.grad());
  return norm;
}

}  // namespace ddpm::inline DDPM_ABI::optim
