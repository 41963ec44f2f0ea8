// Transposed convolution in two dimensions: the adjoint of conv2d in its data.
//
//   y[n, ih s + kh - top, iw s + kw - left, co] += x[n, ih, iw, ci] w[kh, kw, ci, co],  then + bias
//
// Letters as in conv2d.hpp, with x on the small map and y on the large one. The output's size is
// the caller's choice, so that odd maps find back to their size: (OH - 1) s + KH - top - bottom, or
// more.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/conv2d.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// The window of the convolution whose adjoint this is. Throws PreconditionError if shapes
/// disagree.
inline Window transposed_window(const char* what, const Shape& x, const Shape& w, const Shape& y,
                                const ConvGeometry& geometry) {
  check_conv_geometry(what, x, w, geometry);
  require(!geometry.enlarges(), what, ": its input cannot be enlarged");
  require(y.rank() == 4 && y[0] == x[0] && y[3] == w[3], what, ": y is ", y, ", expected (", x[0],
          ", any height, any width, ", w[3], ")");
  return {x[0], y[1], y[2], x[1], x[2], w[0], w[1], geometry.stride, geometry.padding};
}

}  // namespace detail

/// Writes y = conv^T(x) + bias.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out), bias (C_out) or empty
///   y (N, any height, any width, C_out); pixels out of every kernel's reach get the bias
/// Throws PreconditionError if shapes disagree.
template <class T>
void conv_transpose2d_forward(View<const T> x, View<const T> w, View<const T> bias,
                              const ConvGeometry& geometry, View<T> y) {
  const Window g =
      detail::transposed_window("conv_transpose2d", x.shape, w.shape, y.shape, geometry);
  if (!bias.empty()) require_shape("conv_transpose2d: bias", bias.shape, {w.dim(3)});
  const Operand<T> map(x), filter(w);
  with_unit<T>([&]<class U>() {
    direct_adjoint<U>(g, map.view(), filter.view().data, false, w.dim(3), bias, y.data);
  });
}

/// With L = <dy, y>, writes dx, dw and dbias, each shaped as its original; an empty view is not
/// needed. Throws PreconditionError if shapes disagree.
template <class T>
void conv_transpose2d_backward(View<const T> dy, View<const T> x, View<const T> w,
                               const ConvGeometry& geometry, View<T> dx, View<T> dw,
                               View<T> dbias) {
  const Window g =
      detail::transposed_window("conv_transpose2d_backward", x.shape, w.shape, dy.shape, geometry);
  require_shape_if_given("conv_transpose2d_backward: dx", dx, x.shape);
  require_shape_if_given("conv_transpose2d_backward: dw", dw, w.shape);
  require_shape_if_given("conv_transpose2d_backward: dbias", dbias, {w.dim(3)});
  const Index C_in = w.dim(2), C_out = w.dim(3);
  const Operand<T> gradient(dy), map(x), filter(w);
  if (!dx.empty())
    with_unit<T>([&]<class U>() {
      direct_forward<U>(g, gradient.view(), filter.view().data, true, C_in, {{}, nullptr, dx.data});
    });
  if (!dw.empty()) {
    Scratch<T> swapped(dw.size());  // (taps, C_out, C_in)
    with_unit<T>([&]<class U>() {
      direct_weight_gradient<U>(g, gradient.view(), map.view(), swapped.data());
    });
    parallel_for(g.taps(), [&](Index tap) {
      const T* from = swapped.data() + tap * C_out * C_in;
      T* to = dw.data + tap * C_in * C_out;
      for (Index ci = 0; ci < C_in; ++ci)
        for (Index co = 0; co < C_out; ++co) to[ci * C_out + co] = from[co * C_in + ci];
    });
  }
  if (!dbias.empty()) column_sums<T>(dy, dbias);
}

}  // namespace ddpm::DDPM_ABI::kernels
