// Convolution in two dimensions (cross-correlation, as in every deep-learning library).
//
//   y[n, oh, ow, co] = bias[co] + sum_{kh, kw, ci} x[n, oh s + kh - top, ow s + kw - left, ci]
//                                                  w[kh, kw, ci, co]
//
// Letters: N images, H x W in, OH x OW out, C_in, C_out, kernel KH x KW, stride s. NHWC; weights
// (KH, KW, C_in, C_out). This is the door: it checks, asks choice.hpp for the path, and goes there.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/conv/amx/weight_gradient.hpp"
#include "ddpm/kernels/conv/choice.hpp"
#include "ddpm/kernels/conv/direct.hpp"
#include "ddpm/kernels/conv/narrow.hpp"
#include "ddpm/kernels/conv/winograd/convolve.hpp"
#include "ddpm/kernels/conv/winograd/weight_gradient.hpp"
#include "ddpm/kernels/product/operand.hpp"
#include "ddpm/kernels/upsample.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Throws PreconditionError unless x (N, H, W, C_in) and w (KH, KW, C_in, C_out) go together, for
/// an operation of that name.
inline void check_conv_geometry(const char* what, const Shape& x, const Shape& w,
                                const ConvGeometry& geometry) {
  const Padding& pad = geometry.padding;
  require(x.rank() == 4, what, ": x is ", x, ", expected (N, H, W, C)");
  require(w.rank() == 4 && w[2] == x[3], what, ": w is ", w, ", expected (KH, KW, ", x[3],
          ", C_out)");
  require(w[0] >= 1 && w[1] >= 1 && w[0] * w[1] <= max_conv_taps, what, ": kernel ", w[0], " x ",
          w[1], ", expected 1 to ", max_conv_taps, " taps");
  require(x[3] >= 1 && w[3] >= 1, what, ": w is ", w, ", expected at least one channel each way");
  require(geometry.stride >= 1, what, ": stride is ", geometry.stride, ", expected at least 1");
  require(pad.top >= 0 && pad.bottom >= 0 && pad.left >= 0 && pad.right >= 0, what,
          ": padding must not be negative");
  require(!geometry.enlarges() ||
              (x[1] > 0 && x[2] > 0 && geometry.height >= x[1] && geometry.width >= x[2]),
          what, ": x ", x, " cannot be enlarged to ", geometry.height, " x ", geometry.width);
}

/// Shape of conv2d's result. Throws PreconditionError if shapes disagree or the padded image is
/// smaller than the kernel.
inline Shape conv2d_shape(const Shape& x, const Shape& w, const ConvGeometry& geometry) {
  check_conv_geometry("conv2d", x, w, geometry);
  const Padding& pad = geometry.padding;
  const MapExtent map = conv_input(x, geometry);
  const Index OH = conv_extent(map.H, pad.top + pad.bottom, w[0], geometry.stride);
  const Index OW = conv_extent(map.W, pad.left + pad.right, w[1], geometry.stride);
  require(OH > 0 && OW > 0, "conv2d: the padded image of x ", x, " is smaller than the kernel ",
          w[0], " x ", w[1]);
  return {x[0], OH, OW, w[3]};
}

namespace detail {

template <class T>
void check_bias(const char* what, View<const T> bias, Index N, Index C) {
  require(bias.empty() || bias.shape == Shape{C} || bias.shape == Shape{N, C}, what, ": bias is ",
          bias.shape, ", expected ", Shape{C}, " or ", Shape{N, C});
}

/// What conv2d_forward() checks.
template <class T>
void check_conv_operands(const Shape& x, View<const T> w, View<const T> bias,
                         View<const T> residual, View<T> y, const ConvGeometry& geometry) {
  require_shape("conv2d: y", y.shape, conv2d_shape(x, w.shape, geometry));
  check_bias("conv2d", bias, x[0], w.dim(3));
  if (!residual.empty()) require_shape("conv2d: residual", residual.shape, y.shape);
}

/// dx of the map as the kernel sees it, (N, H, W, C_in).
template <class T>
void conv2d_data_gradient(const Window& g, View<const T> dy, View<const T> w, T* dx) {
  const Index C_in = w.dim(2), C_out = w.dim(3);
  const ConvPath path = conv_path(ConvPass::data_gradient, g, C_in, C_out, kernel_precision<T>());
  with_unit<T>([&]<class U>() {
    switch (path) {
      case ConvPath::few_inputs: return narrow_data_gradient<U>(g, dy, w.data, C_in, true, dx);
      case ConvPath::few_outputs: return narrow_data_gradient<U>(g, dy, w.data, C_in, false, dx);
      case ConvPath::direct: return direct_adjoint<U>(g, dy, w.data, true, C_in, {}, dx);
      case ConvPath::winograd: return winograd::data_gradient<U>(g, dy, w, dx);
      case ConvPath::tiles: return;
    }
  });
}

template <class T>
void conv2d_weight_gradient(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  const ConvPath path = conv_path(ConvPass::weight_gradient, g, x.shape.back(), dy.shape.back(),
                                  kernel_precision<T>());
  with_unit<T>([&]<class U>() {
    switch (path) {
      case ConvPath::few_inputs: return few_inputs_weight_gradient<U>(g, x, dy, dw);
      case ConvPath::few_outputs: return few_outputs_weight_gradient<U>(g, x, dy, dw);
      case ConvPath::direct: return direct_weight_gradient<U>(g, x, dy, dw);
      case ConvPath::winograd: return winograd::weight_gradient<U>(g, x, dy, dw);
      case ConvPath::tiles: return;
    }
  });
}

/// Writes dx, of the map as the kernel sees it, and dw; null: not wanted.
template <class T>
void conv2d_gradients(const Window& g, View<const T> dy, View<const T> x, View<const T> w, T* dx,
                      T* dw) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (conv_path(ConvPass::data_gradient, g, w.dim(2), w.dim(3), kernel_precision<T>()) ==
        ConvPath::tiles)
      return amx::backward(g, dy, dw ? amx::BlockedMap(g, x) : amx::BlockedMap(), w, dx, dw);
#endif
  const Operand<T> gradient(dy);
  if (dx) conv2d_data_gradient<T>(g, gradient.view(), Operand<T>(w).view(), dx);
  if (dw) conv2d_weight_gradient<T>(g, Operand<T>(x).view(), gradient.view(), dw);
}

}  // namespace detail

/// Writes y = conv(x) + bias + residual.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out), y as conv2d_shape() says
///   bias      (C_out), or (N, C_out) with a row for each image, or empty
///   residual  shaped as y, or empty; y may alias it, but not x
/// Throws PreconditionError if shapes disagree.
template <class T>
void conv2d_forward(View<const T> x, View<const T> w, View<const T> bias, View<const T> residual,
                    const ConvGeometry& geometry, View<T> y) {
  detail::check_conv_operands(x.shape, w, bias, residual, y, geometry);
  const Window g = conv_window(x.shape, w.shape, geometry);
  const Index C_in = w.dim(2), C_out = w.dim(3);
  const Epilogue<T> epilogue{bias, residual.data, y.data};
  const ConvPath path = conv_path(ConvPass::forward, g, C_in, C_out, kernel_precision<T>());
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (path == ConvPath::tiles)
      return amx::forward(g, amx::BlockedMap(g, x), amx::fixed_or_fresh(w), epilogue);
#endif
  const Operand<T> map(x), filter(w);
  const View<const T> in = map.view(), by = filter.view();
  with_unit<T>([&]<class U>() {
    switch (path) {
      case ConvPath::few_inputs: return few_inputs_forward<U>(g, in, by.data, C_out, epilogue);
      case ConvPath::few_outputs: return few_outputs_forward<T>(g, in, by.data, C_out, epilogue);
      case ConvPath::direct: return direct_forward<U>(g, in, by.data, false, C_out, epilogue);
      case ConvPath::winograd: return winograd::forward<U>(g, in, by, epilogue);
      case ConvPath::tiles: return;
    }
  });
}

/// With L = <dy, y>, writes dx, dw and dbias, each shaped as its original; an empty view is not
/// needed. (The residual's gradient is dy.)
/// Throws PreconditionError if shapes disagree.
template <class T>
void conv2d_backward(View<const T> dy, View<const T> x, View<const T> w,
                     const ConvGeometry& geometry, View<T> dx, View<T> dw, View<T> dbias) {
  require_shape("conv2d_backward: dy", dy.shape, conv2d_shape(x.shape, w.shape, geometry));
  require_shape_if_given("conv2d_backward: dx", dx, x.shape);
  require_shape_if_given("conv2d_backward: dw", dw, w.shape);
  detail::check_bias<T>("conv2d_backward", dbias, x.dim(0), w.dim(3));
  const Window g = conv_window(x.shape, w.shape, geometry);
  const bool enlarges = !dx.empty() && geometry.enlarges();
  const Shape seen{g.N, g.H, g.W, x.dim(3)};
  Scratch<T> enlarged(enlarges ? seen.size() : 0);
  detail::conv2d_gradients<T>(g, dy, x, w, enlarges ? enlarged.data() : dx.data, dw.data);
  if (enlarges) upsample_nearest_backward<T>({enlarged.data(), seen}, dx);
  if (!dbias.empty()) column_sums<T>(dy, dbias);
}

}  // namespace ddpm::DDPM_ABI::kernels
