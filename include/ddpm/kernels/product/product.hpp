// Matrix products C = A B (+ bias), with either factor given transposed.
//
// Fixed blocking, terms added in ascending order: the same bits at any number of threads, and a row
// of C does not depend on how many rows there are.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/product/gather_outer.hpp"
#include "ddpm/kernels/product/gather_rows.hpp"

namespace ddpm::DDPM_ABI::kernels {

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
      const GatherRows<T> job{.rows = c.rows,
                              .taps = 1,
                              .terms = terms_,
                              .columns = columns_,
                              .packed = packed_.data(),
                              .packed_taps = 1,
                              .has_bias = bias != nullptr};
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

}  // namespace ddpm::DDPM_ABI::kernels
