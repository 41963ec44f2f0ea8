// Matrix product C = A B (+ bias), with either factor given transposed.
//
// Fixed blocking, terms added in ascending order: the same bits at any number of threads, and a row
// of C does not depend on how many rows there are.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/gather.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Packs b (taps, terms, columns), or (taps, columns, terms) if `transposed`, into panels of
/// (taps, terms, width).
template <class T, int Packs>
void pack_panels(const T* b, Index taps, Index terms, Index columns, Index stride, bool transposed,
                 T* packed) {
  constexpr Index width = panel_width<T, Packs>;
  const Index panels = (columns + width - 1) / width;
  parallel_for(panels * taps, [&](Index task) {
    const Index tap = task / panels, panel = task % panels;
    T* target = packed + (panel * taps + tap) * terms * width;
    if (transposed)
      pack_panel_transposed<T, Packs>({b + tap * columns * stride, columns, terms, stride},
                                      panel * width, target);
    else
      pack_panel<T, Packs>({b + tap * terms * stride, terms, columns, stride}, panel * width,
                           target);
  });
}

/// b (K, N), or b^T for b (N, K), packed for one or several products. Lives as Scratch does.
template <class T>
class PackedMatrix {
 public:
  PackedMatrix(Matrix<const T> b, bool transposed)
      : terms_(transposed ? b.columns : b.rows),
        columns_(transposed ? b.rows : b.columns),
        packed_(size(terms_, columns_)) {
    with_panel_width<T>(columns_, [&]<int Packs>() {
      pack_panels<T, Packs>(b.data, 1, terms_, columns_, b.stride, transposed, packed_.data());
    });
  }

  /// c = a b + bias; a (M, K), c (M, N), bias (N) or null. c must not overlap a.
  void multiply(Matrix<const T> a, Matrix<T> c, const T* bias = nullptr) const {
    with_panel_width<T>(columns_, [&]<int Packs>() {
      const GatherRows<T> job{c.rows,         1, terms_,  columns_,
                              packed_.data(), 1, nullptr, bias != nullptr};
      const auto locate = [&](Index first, Index count, const RowPointers<T>& pointers) {
        for (Index r = 0; r < count; ++r) {
          pointers.source[r] = a.row(first + r);
          pointers.out[r] = c.row(first + r);
          pointers.bias[r] = bias;
        }
      };
      gather_rows<T, Packs>(job, locate);
    });
  }

 private:
  static Index size(Index terms, Index columns) {
    Index result = 0;
    with_panel_width<T>(columns,
                        [&]<int Packs>() { result = packed_size<T, Packs>(terms, columns); });
    return result;
  }

  Index terms_, columns_;
  Scratch<T> packed_;
};

/// c = a b + bias; a (M, K), b (K, N), c (M, N), bias (N) or null. c must not overlap a or b.
template <class T>
void multiply(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const T* bias = nullptr) {
  PackedMatrix<T>(b, false).multiply(a, c, bias);
}

/// c = a b^T; a (M, K), b (N, K), c (M, N). c must not overlap a or b.
template <class T>
void multiply_transposed(Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  PackedMatrix<T>(b, true).multiply(a, c);
}

/// c = a^T b; a (K, M), b (K, N), c (M, N) with rows N apart. c must not overlap a or b.
template <class T>
void transposed_multiply(Matrix<const T> a, Matrix<const T> b, T* c) {
  with_panel_width<T>(b.columns, [&]<int Packs>() {
    const auto locate = [&](Index first, Index count, const T** source) {
      for (Index p = 0; p < count; ++p) source[p] = a.row(first + p);
    };
    gather_outer<T, Packs>(GatherOuter<T>{a.rows, 1, a.columns, b}, c, locate);
  });
}

/// The view's rows as a matrix of shape.back() columns.
template <class T>
Matrix<T> as_matrix(View<T> view) {
  const Index columns = view.shape.back();
  return {view.data, columns == 0 ? 0 : view.size() / columns, columns, columns};
}

/// c = a b; a (M, K), b (K, N), c (M, N). Throws PreconditionError if shapes disagree.
template <class T>
void matmul_forward(View<const T> a, View<const T> b, View<T> c) {
  require(a.shape.rank() == 2 && b.shape.rank() == 2 && a.dim(1) == b.dim(0), "matmul: a is ",
          a.shape, " and b is ", b.shape, ", expected (M, K) and (K, N)");
  require(a.dim(1) >= 1 && b.dim(1) >= 1, "matmul: a is ", a.shape, " and b is ", b.shape,
          ", expected at least one column each");
  require_shape("matmul: c", c.shape, {a.dim(0), b.dim(1)});
  multiply<T>(as_matrix(a), as_matrix(b), as_matrix(c));
}

/// Writes da = dc b^T and db = a^T dc; an empty view is not needed.
template <class T>
void matmul_backward(View<const T> dc, View<const T> a, View<const T> b, View<T> da, View<T> db) {
  if (!da.empty()) multiply_transposed<T>(as_matrix(dc), as_matrix(b), as_matrix(da));
  if (!db.empty()) transposed_multiply<T>(as_matrix(a), as_matrix(dc), db.data);
}

}  // namespace ddpm::DDPM_ABI::kernels
