// Fully connected layer: y = x w + bias, with x (M, K), w (K, N), bias (N).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/matmul.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Writes y (M, N); bias may be empty. Throws PreconditionError if shapes disagree.
template <class T>
void linear_forward(View<const T> x, View<const T> w, View<const T> bias, View<T> y) {
  require(x.shape.rank() == 2 && w.shape.rank() == 2 && x.dim(1) == w.dim(0), "linear: x is ",
          x.shape, " and w is ", w.shape, ", expected (M, K) and (K, N)");
  require(x.dim(1) >= 1 && w.dim(1) >= 1, "linear: x is ", x.shape, " and w is ", w.shape,
          ", expected at least one column each");
  require_shape("linear: y", y.shape, {x.dim(0), w.dim(1)});
  if (!bias.empty()) require_shape("linear: bias", bias.shape, {w.dim(1)});
  const Operand<T> left(x), right(w);
  with_unit<T>([&]<class U>() {
    multiply<U>(as_matrix(left.view()), as_matrix(right.view()), as_matrix(y), bias.data);
  });
}

/// With L = <dy, y>, writes dx, dw and dbias; an empty view is not needed.
template <class T>
void linear_backward(View<const T> dy, View<const T> x, View<const T> w, View<T> dx, View<T> dw,
                     View<T> dbias) {
  if (!dbias.empty()) require_shape("linear_backward: dbias", dbias.shape, {w.shape.back()});
  matmul_backward<T>(dy, x, w, dx, dw);
  if (!dbias.empty()) column_sums<T>(dy, dbias);
}

}  // namespace ddpm::DDPM_ABI::kernels
