// Register tiles: the two inner loops under every matrix product and convolution.
//
//   rows:   C[r][:] = sum_k A_r[k] B[k][:]       A_r: one pointer a row, B: a packed panel
//   outer:  C[r][:] += sum_p A_p[r] B[p][:]      A_p: one pointer a term, B: a packed panel
//
// k and p count units U, and so do `terms` below: floats or doubles, one term each, or pairs of
// bfloat16, two terms that are summed in float (core/bfloat16.hpp).
//
// Rows are found through pointers, so that a convolution needs no im2col (Dukhan 2019, "The
// Indirect Convolution Algorithm", arXiv:1907.02129). A tile is tile_rows rows by one or two packs;
// terms are added in ascending order whatever the place of the row, so a row's bits do not depend
// on its neighbours.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/core/bfloat16.hpp"

namespace ddpm::DDPM_ABI::kernels {

// Accumulators + panel packs + one broadcast must fit the registers: 8 x 2 + 3 of 32 (AVX-512,
// Arm), 6 x 2 + 3 of 16. Measured on AVX-512 (Zen 4): 8 x 2 reaches what 12 x 2 and 6 x 4 reach.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int tile_rows = 8;
#else
inline constexpr int tile_rows = 6;
#endif

/// Columns of a panel that is `packs` packs wide.
template <class U, int Packs>
inline constexpr Index panel_width = Packs* simd::width<Sum<U>>;

/// Values of a cache line.
template <class T>
inline constexpr Index cache_line = 64 / Index{sizeof(T)};

/// Calls `f.template operator()<Packs>()` with the panel width that wastes least on `columns`.
/// Pairs have one width only: less is compiled, and what is narrow is not what takes time.
template <class U, class F>
void with_panel_width(Index columns, F&& f) {
  if constexpr (terms_of_unit<U> == 1)
    if (columns <= simd::width<Sum<U>>) return f.template operator()<1>();
  f.template operator()<2>();
}

/// Accumulators of Rows x (Packs * width) results.
template <class U, int Packs, int Rows = tile_rows>
struct Tile {
  using T = Sum<U>;
  simd::Pack<T> sum[Rows][Packs];

  void clear() {
    for (auto& row : sum)
      for (auto& pack : row) pack = simd::Pack<T>(T(0));
  }

  void load(const T* values) {
    for (int r = 0; r < Rows; ++r)
      for (int q = 0; q < Packs; ++q)
        sum[r][q] = simd::load(values + r * panel_width<U, Packs> + q * simd::width<T>);
  }

  void store(T* values) const {
    for (int r = 0; r < Rows; ++r)
      for (int q = 0; q < Packs; ++q)
        simd::store(values + r * panel_width<U, Packs> + q * simd::width<T>, sum[r][q]);
  }

  /// sum[r] = sum over taps and k < terms of rows[tap][r][k] * panel[id(tap)][k].
  ///   rows  one pointer a row, `tap_stride` pointers from tap to tap
  ///   ids   the places of the taps in the panel; null: 0, 1, 2, ...
  void multiply_rows(const U* const* rows, Index tap_stride, Index taps, const Index* ids,
                     Index terms, const U* panel) {
    Tile tile;  // a local copy, so that the sums live in registers
    tile.clear();
    for (Index tap = 0; tap < taps; ++tap, rows += tap_stride) {
      const U* row[Rows];
      std::copy_n(rows, Rows, row);
      const U* b = panel + (ids ? ids[tap] : tap) * terms * panel_width<U, Packs>;
      for (Index k = 0; k < terms; ++k, b += panel_width<U, Packs>)
        tile.multiply_add([&](int r) { return row[r][k]; }, b);
    }
    *this = tile;
  }

  /// sum[r] += sum over k < terms of rows[r * stride + k] * panel[k].
  void add_rows(const U* rows, Index stride, Index terms, const U* panel) {
    Tile tile = *this;
    const U* row[Rows];
    for (int r = 0; r < Rows; ++r) row[r] = rows + r * stride;
    for (Index k = 0; k < terms; ++k, panel += panel_width<U, Packs>)
      tile.multiply_add([&](int r) { return row[r][k]; }, panel);
    *this = tile;
  }

  /// sum[r] += sum over p < terms of rows[p * row_stride + r] * panel[p * panel_stride]; prefetches
  /// the line at ahead[p * ahead_stride] meanwhile.
  template <class Ahead>
  void add_outer(const U* rows, Index row_stride, Index terms, const U* panel, Index panel_stride,
                 const Ahead* ahead, Index ahead_stride) {
    Tile tile = *this;
    for (Index p = 0; p < terms; ++p, rows += row_stride, panel += panel_stride) {
      simd::prefetch(ahead + p * ahead_stride);
      tile.multiply_add([&](int r) { return rows[r]; }, panel);
    }
    *this = tile;
  }

  /// sum[r] += sum over p < terms of rows[p][first + r] * panel[p]; prefetches the lines at
  /// ahead too.
  void add_outer(const U* const* rows, Index first, Index terms, const U* panel, const T* ahead,
                 Index ahead_stride) {
    Tile tile = *this;
    for (Index p = 0; p < terms; ++p, panel += panel_width<U, Packs>) {
      const U* row = rows[p] + first;
      simd::prefetch(ahead + p * ahead_stride);
      tile.multiply_add([&](int r) { return row[r]; }, panel);
    }
    *this = tile;
  }

 private:
  template <class Factor>
  void multiply_add(Factor&& factor, const U* panel) {
    decltype(simd::load(panel)) b[Packs];
    for (int q = 0; q < Packs; ++q) b[q] = simd::load(panel + q * simd::width<T>);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const auto a = simd::broadcast(factor(r));
      for (int q = 0; q < Packs; ++q) sum[r][q] = simd::multiply_add(a, b[q], sum[r][q]);
    }
  }
};

}  // namespace ddpm::DDPM_ABI::kernels
