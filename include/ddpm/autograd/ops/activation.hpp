// SiLU, GELU and softmax as differentiable ops. Maths: kernels/elementwise.hpp,
// kernels/softmax.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/elementwise.hpp"
#include "ddpm/kernels/softmax.hpp"

namespace ddpm::DDPM_ABI {

/// x sigmoid(x), any shape.
template <class T>
Variable<T> silu(const Variable<T>& x) {
  Tensor<T> y(x.shape());
  kernels::silu_forward<T>(x.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::silu_backward<T>(dy, x.view(), dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

/// x Phi(x), the exact form by erf; any shape.
template <class T>
Variable<T> gelu(const Variable<T>& x) {
  Tensor<T> y(x.shape());
  kernels::gelu_forward<T>(x.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::gelu_backward<T>(dy, x.view(), dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

/// Softmax over the last axis. Keeps its result alive until backward.
template <class T>
Variable<T> softmax(const Variable<T>& x) {
  Tensor<T> y(x.shape());
  kernels::softmax_forward<T>(x.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    Tensor<T> dx(dy.shape());
    kernels::softmax_backward<T>(dy, y, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

}  // namespace ddpm::DDPM_ABI
