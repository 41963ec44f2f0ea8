// Dropout as a differentiable op. Maths: kernels/dropout.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/dropout.hpp"

namespace ddpm::DDPM_ABI {

/// Zeroes each element of x with probability `rate`, scales the others by 1 / (1 - rate). The mask
/// is a function of the generator. Throws PreconditionError if rate is not in [0, 1).
template <class T>
Variable<T> dropout(const Variable<T>& x, double rate, const Rng& rng) {
  Tensor<T> y(x.shape());
  kernels::dropout<T>(x.view(), rate, rng, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad(dy);
    kernels::dropout<T>(dy, rate, rng, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

}  // namespace ddpm::DDPM_ABI
