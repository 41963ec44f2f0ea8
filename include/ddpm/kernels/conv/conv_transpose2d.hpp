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

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/conv2d.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

template <class T>
Window transposed_window(View<const T> x, View<const T> w, const ConvGeometry& geometry,
                         const Shape& y) {
  return {x.dim(0),        y[1], y[2], x.dim(1), x.dim(2), w.dim(0), w.dim(1), geometry.stride,
          geometry.padding};
}

}  // namespace detail

/// Writes y = conv^T(x) + bias.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out), bias (C_out) or empty
///   y (N, any height, any width, C_out); pixels out of every kernel's reach get the bias
/// Throws PreconditionError if shapes disagree.
template <class T>
void conv_transpose2d_forward(View<const T> x, View<const T> w, View<const T> bias,
                              const ConvGeometry& geometry, View<T> y) {
  detail::check_geometry("conv_transpose2d", x.shape, w.shape, geometry);
  require(!geometry.enlarges(), "conv_transpose2d: its input cannot be enlarged");
  require(y.shape.rank() == 4, "conv_transpose2d: y is ", y.shape, ", expected (N, H, W, C)");
  require_shape("conv_transpose2d: y", y.shape, {x.dim(0), y.dim(1), y.dim(2), w.dim(3)});
  if (!bias.empty()) require_shape("conv_transpose2d: bias", bias.shape, {w.dim(3)});
  detail::gather_backward<T>(detail::transposed_window(x, w, geometry, y.shape), x, w.data, false,
                             w.dim(3), bias, y.data);
}

/// With L = <dy, y>, writes dx, dw and dbias, each shaped as its original; an empty view is not
/// needed.
template <class T>
void conv_transpose2d_backward(View<const T> dy, View<const T> x, View<const T> w,
                               const ConvGeometry& geometry, View<T> dx, View<T> dw,
                               View<T> dbias) {
  const Window window = detail::transposed_window(x, w, geometry, dy.shape);
  const Index C_in = w.dim(2), C_out = w.dim(3);
  if (!dx.empty())
    detail::gather_forward<T>(window, dy, w.data, true, C_in, View<const T>(), nullptr, dx.data);
  if (!dw.empty()) {
    Scratch<T> swapped(dw.size());  // (taps, C_out, C_in)
    detail::gather_weights<T>(window, dy, x, swapped.data());
    parallel_for(window.taps(), [&](Index tap) {
      const T* from = swapped.data() + tap * C_out * C_in;
      T* to = dw.data + tap * C_in * C_out;
      for (Index ci = 0; ci < C_in; ++ci)
        for (Index co = 0; co < C_out; ++co) to[ci * C_out + co] = from[co * C_in + ci];
    });
  }
  if (!dbias.empty()) column_sums<T>(dy, dbias);
}

}  // namespace ddpm::DDPM_ABI::kernels
