// Matrices, and the packing of their columns into panels that a register tile reads in one stream.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/scratch.hpp"
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

/// A matrix's rows in units: as they are.
template <class U>
class UnitRows {
 public:
  explicit UnitRows(Matrix<const U> rows) : rows_(rows) {}
  Matrix<const U> matrix() const { return rows_; }

 private:
  Matrix<const U> rows_;
};

/// In pairs: a rounded copy. Lives as Scratch does.
template <>
class UnitRows<Bfloat16Pair> {
 public:
  explicit UnitRows(Matrix<const float> m)
      : rows_(m.rows), stride_(units<Bfloat16Pair>(m.columns)), pairs_(rows_ * stride_) {
    constexpr Index values = 8192;  // a task's
    const Index block = std::max<Index>(1, values / std::max<Index>(1, m.columns));
    parallel_for((rows_ + block - 1) / block, [&](Index task) {
      for (Index r = task * block; r < std::min(rows_, (task + 1) * block); ++r)
        simd::round_pairs(m.row(r), m.columns, pairs_.data() + r * stride_);
    });
  }
  Matrix<const Bfloat16Pair> matrix() const { return {pairs_.data(), rows_, stride_, stride_}; }

 private:
  Index rows_, stride_;
  Scratch<Bfloat16Pair> pairs_;
};

/// Units of a packed (terms, columns) matrix: whole panels, the last padded with zeros.
template <class U, int Packs>
Index packed_size(Index terms, Index columns) {
  constexpr Index width = panel_width<U, Packs>;
  return (columns + width - 1) / width * width * units<U>(terms);
}

/// A panel's rows lie far apart, and the machine's own prefetcher does not follow such steps: so
/// many rows ahead they are prefetched.
inline constexpr Index rows_ahead = 12;

/// Into the first-level cache, or, with Locality 2, the second. Inlined for the reason
/// that simd::prefetch() gives.
template <class T, int Packs, int Locality = 3>
[[gnu::always_inline]] inline void prefetch_panel(const T* row) {
  for (int q = 0; q < Packs; ++q) simd::prefetch<false, Locality>(row + q * simd::width<T>);
}

/// Packs columns [first, first + width) of b (terms, columns) as (units, width), zeros past the
/// end.
template <class U, int Packs>
void pack_panel(Matrix<const Sum<U>> b, Index first, U* panel) {
  using T = Sum<U>;
  constexpr Index width = panel_width<U, Packs>;
  const Index columns = std::min(width, b.columns - first);
  for (Index k = 0; k < b.rows; k += terms_of_unit<U>, panel += width) {
    if (k + rows_ahead < b.rows) prefetch_panel<T, Packs>(b.row(k + rows_ahead) + first);
    if constexpr (std::is_same_v<U, T>) {
      std::copy_n(b.row(k) + first, columns, panel);
      std::fill(panel + columns, panel + width, T(0));
    } else {
      const T* second = k + 1 < b.rows ? b.row(k + 1) + first : nullptr;
      for (Index c = 0; c < width; c += simd::width<T>)
        simd::store(panel + c, simd::pair_rows(b.row(k) + first + c, second ? second + c : nullptr,
                                               std::clamp<Index>(columns - c, 0, simd::width<T>)));
    }
  }
}

/// The same for b given transposed, (columns, units). Prefetches the rows that come next.
template <class U, int Packs>
void pack_panel_transposed(Matrix<const U> b, Index first, U* panel) {
  constexpr Index width = panel_width<U, Packs>, square = simd::width<Sum<U>>;
  const Index columns = std::min(width, b.rows - first), terms = b.columns;
  const Index whole = terms / square * square;
  Index j = 0;
  for (; j + square <= columns; j += square)
    for (Index k = 0; k < whole; k += square) {
      for (Index row = first + j + square; row < std::min(first + j + 2 * square, b.rows); ++row)
        simd::prefetch(b.row(row) + k);
      simd::transpose(b.row(first + j) + k, b.stride, panel + k * width + j, width);
    }
  for (Index k = 0; k < terms; ++k) {
    for (Index i = k < whole ? j : 0; i < columns; ++i) panel[k * width + i] = b.row(first + i)[k];
    std::fill(panel + k * width + columns, panel + (k + 1) * width, U{});
  }
}

/// Packs b (taps, terms, columns), or (taps, columns, terms) if `transposed`, with rows `stride`
/// apart, into panels of (taps, units, width).
template <class U, int Packs>
void pack_panels(const Sum<U>* b, Index taps, Index terms, Index columns, Index stride,
                 bool transposed, U* packed) {
  constexpr Index width = panel_width<U, Packs>;
  const Index panels = (columns + width - 1) / width;
  const auto target = [&](Index tap, Index panel) {
    return packed + (panel * taps + tap) * units<U>(terms) * width;
  };
  if (transposed) {
    const UnitRows<U> rows({b, taps * columns, terms, stride});
    parallel_for(panels * taps, [&](Index task) {
      const Index tap = task / panels, panel = task % panels;
      pack_panel_transposed<U, Packs>(rows.matrix().slice(tap * columns, columns), panel * width,
                                      target(tap, panel));
    });
  } else {
    parallel_for(panels * taps, [&](Index task) {
      const Index tap = task / panels, panel = task % panels;
      pack_panel<U, Packs>({b + tap * terms * stride, terms, columns, stride}, panel * width,
                           target(tap, panel));
    });
  }
}

}  // namespace ddpm::DDPM_ABI::kernels
