// Linear combinations of tensors, of which the formulas of schedulers and solvers are made.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/elementwise.hpp"

namespace ddpm::DDPM_ABI::detail {

template <class T>
struct Term {
  double factor;
  const Tensor<T>& tensor;
};

/// The sum of factor * tensor over the terms, of one shape; factors are rounded to T.
template <class T, class... Rest>
Tensor<T> combine(const Term<T>& first, const Rest&... rest) {
  Tensor<T> sum(first.tensor.shape());
  const auto add = [=, a = static_cast<T>(first.factor)](const auto& v, const auto&... others) {
    auto result = v * a;
    ((result = result + others * static_cast<T>(rest.factor)), ...);
    return result;
  };
  elementwise<T>(add, sum.view(), first.tensor, rest.tensor...);
  return sum;
}

}  // namespace ddpm::DDPM_ABI::detail
