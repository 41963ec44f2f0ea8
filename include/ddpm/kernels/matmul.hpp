// Matrix product C = A B.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/product/operand.hpp"
#include "ddpm/kernels/product/product.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// c = a b; a (M, K), b (K, N), c (M, N). Throws PreconditionError if shapes disagree.
template <class T>
void matmul_forward(View<const T> a, View<const T> b, View<T> c) {
  require(a.shape.rank() == 2 && b.shape.rank() == 2 && a.dim(1) == b.dim(0), "matmul: a is ",
          a.shape, " and b is ", b.shape, ", expected (M, K) and (K, N)");
  require(a.dim(1) >= 1 && b.dim(1) >= 1, "matmul: a is ", a.shape, " and b is ", b.shape,
          ", expected at least one column each");
  require_shape("matmul: c", c.shape, {a.dim(0), b.dim(1)});
  const Operand<T> left(a), right(b);
  with_unit<T>([&]<class U>() {
    multiply<U>(as_matrix(left.view()), as_matrix(right.view()), as_matrix(c));
  });
}

/// Writes da = dc b^T and db = a^T dc; an empty view is not needed.
template <class T>
void matmul_backward(View<const T> dc, View<const T> a, View<const T> b, View<T> da, View<T> db) {
  require(a.shape.rank() == 2 && b.shape.rank() == 2 && a.dim(1) == b.dim(0),
          "matmul_backward: a is ", a.shape, " and b is ", b.shape, ", expected (M, K) and (K, N)");
  require_shape("matmul_backward: dc", dc.shape, {a.dim(0), b.dim(1)});
  require_shape_if_given("matmul_backward: da", da, a.shape);
  require_shape_if_given("matmul_backward: db", db, b.shape);
  const Operand<T> outer(dc), left(a), right(b);
  const auto gradient = as_matrix(outer.view());
  with_unit<T>([&]<class U>() {
    if (!da.empty()) multiply_transposed<U>(gradient, as_matrix(right.view()), as_matrix(da));
    if (!db.empty()) transposed_multiply<U>(as_matrix(left.view()), gradient, db.data);
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
