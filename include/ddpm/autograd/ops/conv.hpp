// Convolution and transposed convolution as differentiable ops. Maths: kernels/conv2d.hpp,
// kernels/conv_transpose2d.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/conv_transpose2d.hpp"

namespace ddpm::inline DDPM_ABI {

/// y = conv(x) + bias + residual.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out)
///   bias      (C_out), or (N, C_out) with a row for each image, or undefined
///   residual  shaped as the result, or undefined
/// Keeps x alive until backward. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Variable<T>& bias = {},
                   const ConvGeometry& geometry = {}, const Variable<T>& residual = {}) {
  Tensor<T> y(kernels::conv2d_shape(x.shape(), w.shape(), geometry));
  kernels::conv2d_forward<T>(x.value(), w.value(), bias.value(), residual.value(), geometry, y);
  const bool residual_wanted = residual.requires_grad();
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T> {
    const Tensor<T> dx = x.new_grad(), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::conv2d_backward<T>(dy, x.value(), w.value(), geometry, dx, dw, dbias);
    return {dx, dw, dbias, residual_wanted ? dy : Tensor<T>()};
  };
  return Variable<T>::output(y, {x, w, bias, residual}, backward);
}

/// y = conv^T(x) + bias, with y of height x width pixels.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out), bias (C_out) or undefined
/// Keeps x alive until backward. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> conv_transpose2d(const Variable<T>& x, const Variable<T>& w, const Variable<T>& bias,
                             const ConvGeometry& geometry, Index height, Index width) {
  require(x.shape().rank() == 4 && w.shape().rank() == 4, "conv_transpose2d: x is ", x.shape(),
          " and w is ", w.shape(), ", expected rank 4");
  Tensor<T> y({x.dim(0), height, width, w.dim(3)});
  kernels::conv_transpose2d_forward<T>(x.value(), w.value(), bias.value(), geometry, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T> {
    const Tensor<T> dx = x.new_grad(), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::conv_transpose2d_backward<T>(dy, x.value(), w.value(), geometry, dx, dw, dbias);
    return {dx, dw, dbias};
  };
  return Variable<T>::output(y, {x, w, bias}, backward);
}

}  // namespace ddpm::inline DDPM_ABI
