// Matrices, and the packing of their columns into panels that a register tile reads in one stream.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/product/tile.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// A row-major matrix whose rows are `stride` apart.
template <class T>
struct Matrix {
  T* data = nullptr;
  Index rows = 0, columns = 0, stride = 0;

  T* row(Index i) const { return data + i * stride; }
  Matrix slice(Index first, Index count) const { return {row(first), count, columns, stride}; }
  operator Matrix<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, columns, stride};
  }
};

/// The view's rows as a matrix of shape.back() columns.
template <class T>
Matrix<T> as_matrix(View<T> view) {
  const Index columns = view.shape.back();
  return {view.data, columns == 0 ? 0 : view.size() / columns, columns, columns};
}

/// Values of a packed (terms, columns) matrix: whole panels, the last padded with zeros.
template <class T, int Packs>
Index packed_size(Index terms, Index columns) {
  constexpr Index width = panel_width<T, Packs>;
  return (columns + width - 1) / width * width * terms;
}

/// A panel's rows lie far apart, and the machine's own prefetcher does not follow such steps: so
/// many rows ahead they are prefetched.
inline constexpr Index rows_ahead = 12;

/// Into the first-level cache, or, with Locality 2, the second. A function of nothing but
/// prefetches must be inlined: g++ 12 takes it for one without effect and drops its calls.
template <class T, int Packs, int Locality = 3>
[[gnu::always_inline]] inline void prefetch_panel(const T* row) {
  for (int q = 0; q < Packs; ++q) __builtin_prefetch(row + q * simd::width<T>, 0, Locality);
}

/// Packs columns [first, first + width) of b (terms, columns) as (terms, width), zeros past the
/// end.
template <class T, int Packs>
void pack_panel(Matrix<const T> b, Index first, T* panel) {
  constexpr Index width = panel_width<T, Packs>;
  const Index columns = std::min(width, b.columns - first);
  for (Index k = 0; k < b.rows; ++k, panel += width) {
    if (k + rows_ahead < b.rows) prefetch_panel<T, Packs>(b.row(k + rows_ahead) + first);
    std::copy_n(b.row(k) + first, columns, panel);
    std::fill(panel + columns, panel + width, T(0));
  }
}

/// The same for b given transposed, (columns, terms). Prefetches the rows that come next.
template <class T, int Packs>
void pack_panel_transposed(Matrix<const T> b, Index first, T* panel) {
  constexpr Index width = panel_width<T, Packs>, square = simd::width<T>;
  const Index columns = std::min(width, b.rows - first), terms = b.columns;
  const Index whole = terms / square * square;
  Index j = 0;
  for (; j + square <= columns; j += square)
    for (Index k = 0; k < whole; k += square) {
      for (Index row = first + j + square; row < std::min(first + j + 2 * square, b.rows); ++row)
        __builtin_prefetch(b.row(row) + k);
      simd::transpose(b.row(first + j) + k, b.stride, panel + k * width + j, width);
    }
  for (Index k = 0; k < terms; ++k) {
    for (Index i = k < whole ? j : 0; i < columns; ++i) panel[k * width + i] = b.row(first + i)[k];
    std::fill(panel + k * width + columns, panel + (k + 1) * width, T(0));
  }
}

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

}  // namespace ddpm::DDPM_ABI::kernels
