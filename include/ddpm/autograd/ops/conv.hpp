// Convolution and transposed convolution as differentiable ops. Maths: kernels/conv/conv2d.hpp,
// kernels/conv/conv_transpose2d.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/fixed_parameters.hpp"
#include "ddpm/kernels/conv/conv_transpose2d.hpp"

namespace ddpm::DDPM_ABI {

/// y = conv(x) + bias + residual.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out)
///   bias      (C_out), or (N, C_out) with a row for each image, or undefined
///   residual  shaped as the result, or undefined
/// Keeps x alive until backward. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> conv2d(const Variable<T>& x, const Variable<T>& w, const Variable<T>& bias = {},
                   const ConvGeometry& geometry = {}, const Variable<T>& residual = {}) {
  Tensor<T> y(kernels::conv2d_shape(x.shape(), w.shape(), geometry));
  detail::reads_weights(w);
  kernels::conv2d_forward<T>(x.view(), w.view(), bias.view(), residual.view(), geometry, y);
  const bool residual_wanted = residual.requires_grad();
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 4> {
    const Tensor<T> dx = x.new_grad(), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::conv2d_backward<T>(dy, x.view(), w.view(), geometry, dx, dw, dbias);
    return {dx, dw, dbias, residual_wanted ? dy : Tensor<T>()};
  };
  return Variable<T>::output(y, {x, w, bias, residual}, backward);
}

/// y = [x | skip] w + bias at every pixel: a 1x1 convolution of two inputs, read where they lie.
///   x (N, H, W, A), skip (N, H, W, B), w (1, 1, A + B, C_out), bias (C_out) or undefined
/// Keeps x and skip alive until backward. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> pointwise_conv2d(const Variable<T>& x, const Variable<T>& skip, const Variable<T>& w,
                             const Variable<T>& bias = {}) {
  const Shape &s = x.shape(), &r = skip.shape();
  require(s.rank() == 4 && r.rank() == 4 && s[0] == r[0] && s[1] == r[1] && s[2] == r[2],
          "pointwise_conv2d: x is ", s, " and skip is ", r,
          ", expected (N, H, W, A) and (N, H, W, B)");
  require(w.shape().rank() == 4, "pointwise_conv2d: w is ", w.shape(),
          ", expected (1, 1, A + B, C)");
  const Index A = s[3], B = r[3], C_out = w.dim(3);
  require_shape("pointwise_conv2d: w", w.shape(), {1, 1, A + B, C_out});
  const auto top = [=](const Tensor<T>& rows) {
    return View<T>(rows.data(), rows.empty() ? Shape() : Shape{1, 1, A, C_out});
  };
  const auto bottom = [=](const Tensor<T>& rows) {
    if (rows.empty()) return View<T>();
    return View<T>(rows.data() + A * C_out, {1, 1, B, C_out});
  };
  Tensor<T> y({s[0], s[1], s[2], C_out});
  detail::reads_weights(w);
  kernels::conv2d_forward<T>(x.view(), top(w.value()), bias.view(), {}, {}, y);
  kernels::conv2d_forward<T>(skip.view(), bottom(w.value()), {}, y, {}, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 4> {
    const Tensor<T> dx = x.new_grad(), dskip = skip.new_grad();
    const Tensor<T> dw = w.new_grad(), dbias = bias.new_grad();
    kernels::conv2d_backward<T>(dy, x.view(), top(w.value()), {}, dx, top(dw), dbias);
    kernels::conv2d_backward<T>(dy, skip.view(), bottom(w.value()), {}, dskip, bottom(dw), {});
    return {dx, dskip, dw, dbias};
  };
  return Variable<T>::output(y, {x, skip, w, bias}, backward);
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
  kernels::conv_transpose2d_forward<T>(x.view(), w.view(), bias.view(), geometry, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 3> {
    const Tensor<T> dx = x.new_grad(), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::conv_transpose2d_backward<T>(dy, x.view(), w.view(), geometry, dx, dw, dbias);
    return {dx, dw, dbias};
  };
  return Variable<T>::output(y, {x, w, bias}, backward);
}

}  // namespace ddpm::DDPM_ABI
