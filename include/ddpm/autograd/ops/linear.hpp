// Matrix product and fully connected layer as differentiable ops. Maths: kernels/matmul.hpp,
// kernels/linear.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/linear.hpp"

namespace ddpm::DDPM_ABI {

/// a b for a (M, K), b (K, N). Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> matmul(const Variable<T>& a, const Variable<T>& b) {
  require(a.shape().rank() == 2 && b.shape().rank() == 2, "matmul: a is ", a.shape(), " and b is ",
          b.shape(), ", expected matrices");
  Tensor<T> c({a.dim(0), b.dim(1)});
  kernels::matmul_forward<T>(a.view(), b.view(), c);
  const auto backward = [=](const Tensor<T>& dc) -> Gradients<T, 2> {
    const Tensor<T> da = a.new_grad(), db = b.new_grad();
    kernels::matmul_backward<T>(dc, a.view(), b.view(), da, db);
    return {da, db};
  };
  return Variable<T>::output(c, {a, b}, backward);
}

/// x w + bias for x (M, K), w (K, N), bias (N) or undefined.
/// Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> linear(const Variable<T>& x, const Variable<T>& w, const Variable<T>& bias = {}) {
  require(x.shape().rank() == 2 && w.shape().rank() == 2, "linear: x is ", x.shape(), " and w is ",
          w.shape(), ", expected matrices");
  Tensor<T> y({x.dim(0), w.dim(1)});
  kernels::linear_forward<T>(x.view(), w.view(), bias.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 3> {
    const Tensor<T> dx = x.new_grad(), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::linear_backward<T>(dy, x.view(), w.view(), dx, dw, dbias);
    return {dx, dw, dbias};
  };
  return Variable<T>::output(y, {x, w, bias}, backward);
}

}  // namespace ddpm::DDPM_ABI
