// Rows of a table, by number.
//
//   y_n = table_{rows_n};   its gradient adds dy_n to row rows_n, n in order
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Writes y (N, C) from table (K, C) and N row numbers in [0, K).
/// Throws PreconditionError if shapes disagree or a number is out of range.
template <class T>
void embedding_forward(View<const T> table, std::span<const Index> rows, View<T> y) {
  require(table.shape.rank() == 2, "embedding: table is ", table.shape, ", expected (K, C)");
  require_shape("embedding: y", y.shape, {static_cast<Index>(rows.size()), table.dim(1)});
  for (std::size_t n = 0; n < rows.size(); ++n) {
    require(rows[n] >= 0 && rows[n] < table.dim(0), "embedding: row ", rows[n], ", expected 0 to ",
            table.dim(0) - 1);
    std::copy_n(table.row(rows[n]), table.dim(1), y.row(static_cast<Index>(n)));
  }
}

/// With L = <dy, y>, writes dtable.
template <class T>
void embedding_backward(View<const T> dy, std::span<const Index> rows, View<T> dtable) {
  require(dtable.shape.rank() == 2, "embedding_backward: dtable is ", dtable.shape,
          ", expected (K, C)");
  require_shape("embedding_backward: dy", dy.shape, {std::ssize(rows), dtable.dim(1)});
  std::fill(dtable.begin(), dtable.end(), T(0));
  const auto add = [](const auto& u, const auto& v) { return u + v; };
  for (std::size_t n = 0; n < rows.size(); ++n) {
    require(rows[n] >= 0 && rows[n] < dtable.dim(0), "embedding_backward: row ", rows[n],
            ", expected 0 to ", dtable.dim(0) - 1);
    T* row = dtable.row(rows[n]);
    simd::map<T>(add, dtable.dim(1), row, row, dy.row(static_cast<Index>(n)));
  }
}

}  // namespace ddpm::DDPM_ABI::kernels
