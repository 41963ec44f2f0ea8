// Channels of two tensors side by side: y = [a | b] on the last axis.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// Calls f(row) for every row of a matrix of `columns` columns, blocks of rows in parallel.
template <class F>
void for_each_row(Index rows, Index columns, const F& f) {
  const Index block = std::max<Index>(1, 8192 / std::max<Index>(1, columns));
  parallel_for((rows + block - 1) / block, [&](Index task) {
    for (Index i = task * block; i < std::min(rows, (task + 1) * block); ++i) f(i);
  });
}

}  // namespace detail

/// Writes y (..., A + B) from a (..., A) and b (..., B).
/// Throws PreconditionError unless all three have the same number of rows and the columns add up.
template <class T>
void concat_forward(View<const T> a, View<const T> b, View<T> y) {
  const Index A = a.shape.back(), B = b.shape.back();
  require(
      y.shape.back() == A + B && a.size() * B == b.size() * A && y.size() == a.size() + b.size(),
      "concat: ", a.shape, " and ", b.shape, " do not make ", y.shape);
  if (A + B == 0) return;
  detail::for_each_row(y.size() / (A + B), A + B, [&](Index i) {
    std::copy_n(a.row(i), A, y.row(i));
    std::copy_n(b.row(i), B, y.row(i) + A);
  });
}

/// With L = <dy, y>, writes da and db, the halves of dy; an empty view is not needed. a_columns is
/// A.
template <class T>
void concat_backward(View<const T> dy, Index a_columns, View<T> da, View<T> db) {
  require(dy.shape.rank() > 0 && a_columns >= 0 && a_columns <= dy.shape.back(),
          "concat_backward: ", a_columns, " columns of dy ", dy.shape);
  const Index columns = dy.shape.back();
  const auto check = [&](const char* what, View<T> part, Index expected) {
    require(part.empty() ||
                (part.shape.back() == expected && part.size() * columns == dy.size() * expected),
            what, " is ", part.shape, ", expected ", expected, " of the columns of dy ", dy.shape);
  };
  check("concat_backward: da", da, a_columns);
  check("concat_backward: db", db, columns - a_columns);
  if (columns == 0) return;
  detail::for_each_row(dy.size() / columns, columns, [&](Index i) {
    if (!da.empty()) std::copy_n(dy.row(i), a_columns, da.row(i));
    if (!db.empty()) std::copy_n(dy.row(i) + a_columns, columns - a_columns, db.row(i));
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
