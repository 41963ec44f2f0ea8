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

/// b (K, N), or b^T for b (N, K), packed for one or several products in units U. Lives as Scratch
/// does.
template <class U>
class PackedMatrix {
 public:
  using T = Sum<U>;

  PackedMatrix(Matrix<const T> b, bool transposed)
      : terms_(transposed ? b.columns : b.rows),
        columns_(transposed ? b.rows : b.columns),
        packed_(size(terms_, columns_)) {
    with_panel_width<U>(columns_, [&]<int Packs>() {
      pack_panels<U, Packs>(b.data, 1, terms_, columns_, b.stride, transposed, packed_.data());
    });
  }

  /// c = a b + bias; a (M, K), c (M, N), bias (N) or null. c must not overlap a.
  void multiply(Matrix<const T> a, Matrix<T> c, const T* bias = nullptr) const {
    const UnitRows<U> rows(a);
    const Matrix<const U> source = rows.matrix();
    const auto locate = [&](Index first, Index count, const RowPointers<U>& pointers) {
      for (Index r = 0; r < count; ++r) {
        pointers.source[r] = source.row(first + r);
        pointers.out[r] = c.row(first + r);
        pointers.bias[r] = bias;
      }
    };
    const GatherRows<U> job{.rows = c.rows,
                            .taps = 1,
                            .units = units<U>(terms_),
                            .columns = columns_,
                            .packed = packed_.data(),
                            .packed_taps = 1,
                            .has_bias = bias != nullptr};
    with_panel_width<U>(columns_, [&]<int Packs>() { gather_rows<U, Packs>(job, locate); });
  }

 private:
  static Index size(Index terms, Index columns) {
    Index result = 0;
    with_panel_width<U>(columns,
                        [&]<int Packs>() { result = packed_size<U, Packs>(terms, columns); });
    return result;
  }

  Index terms_, columns_;
  Scratch<U> packed_;
};

/// c = a b + bias in units U; a (M, K), b (K, N), c (M, N), bias (N) or null. c must not overlap a
/// or b.
template <class U, class T = Sum<U>>
void multiply(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const T* bias = nullptr) {
  PackedMatrix<U>(b, false).multiply(a, c, bias);
}

/// c = a b^T; a (M, K), b (N, K), c (M, N). c must not overlap a or b.
template <class U, class T = Sum<U>>
void multiply_transposed(Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
  PackedMatrix<U>(b, true).multiply(a, c);
}

/// c = a^T b; a (K, M), b (K, N), c (M, N) with rows N apart. c must not overlap a or b.
template <class U, class T = Sum<U>>
void transposed_multiply(Matrix<const T> a, Matrix<const T> b, T* c) {
  const auto locate = [&](Index first, Index count, const T** source) {
    for (Index p = 0; p < count; ++p) source[p] = a.row(first + p);
  };
  with_panel_width<U>(b.columns, [&]<int Packs>() {
    gather_outer<U, Packs>(GatherOuter<T>{a.rows, 1, a.columns, b}, c, locate);
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
