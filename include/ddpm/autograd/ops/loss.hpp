// Mean squared error as a differentiable op. Maths: kernels/mse.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/mse.hpp"

namespace ddpm::inline DDPM_ABI {

/// mean((a - b)^2), shape (1). Throws PreconditionError if shapes differ or are empty.
template <class T>
Variable<T> mse_loss(const Variable<T>& a, const Variable<T>& b) {
  Tensor<T> loss({1}, kernels::mse_forward<T>(a.value(), b.value()));
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T> {
    const Tensor<T> da = a.new_grad(), db = b.new_grad();
    kernels::mse_backward<T>(dy[0], a.value(), b.value(), da, db);
    return {da, db};
  };
  return Variable<T>::output(loss, {a, b}, backward);
}

}  // namespace ddpm::inline DDPM_ABI
