// Outer products of bfloat16 pairs on AMX (amx.hpp): what gather_outer() does there.
//
//   D[tap]^T = sum_p b_p^T source(tap, p)
//
// The rows of a tile run over the terms, so b is turned, once for all taps, and the result at the
// end.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/product/amx.hpp"
#include "ddpm/kernels/product/outer.hpp"

namespace ddpm::DDPM_ABI::kernels::amx {

/// Columns of b that a task takes. The more there are, the less it matters that the rows of
/// source(tap, p) have to be interleaved.
inline constexpr Index outer_columns = 128;

#ifdef DDPM_AMX

/// One task: rows [first_row, last_row) of D, columns [first_column, last_column).
class OuterTask {
 public:
  using U = Bfloat16Pair;

  OuterTask(const GatherOuter<float>& job, Index first_row, Index last_row, Index first_column,
            Index last_column)
      : job_(job),
        first_row_(first_row),
        rows_(last_row - first_row),
        first_column_(first_column),
        columns_(last_column - first_column),
        row_tiles_((rows_ + group - 1) / group * 2),
        column_tiles_((columns_ + group - 1) / group * 2),
        sums_(job.taps * column_tiles_ * row_tiles_ * tile, 0.0F),
        turned_(column_tiles_ * chunk_units * side),
        left_(chunk_units * row_tiles_ * side),
        pointers_(job.taps * chunk) {}

  void add_terms(Index first, Index last, LocateOuter<float> locate) {
    const Tiles tiles;
    for (Index p = first; p < last; p += chunk) {
      const Index count = std::min(chunk, last - p);
      turn(p, count);
      locate(p, count, pointers_.data());
      const Index steps = (units<U>(count) + side - 1) / side;
      for (Index tap = 0; tap < job_.taps; ++tap) {
        interleave(pointers_.data() + tap * chunk, count);
        for (Index c = 0; c < column_tiles_; c += 2)
          for (Index r = 0; r < row_tiles_; r += 2)
            multiply(turned_.data() + c * chunk_units * side, left_.data() + r * side,
                     row_tiles_ * side, steps, sum(tap, c, r));
      }
    }
  }

  /// Writes to d, (taps, rows, columns).
  void write(float* d) const {
    alignas(64) float turned[tile];
    for (Index tap = 0; tap < job_.taps; ++tap)
      for (Index c = 0; c < columns_; c += side)
        for (Index r = 0; r < rows_; r += side) {
          simd::transpose(sum(tap, c / side, r / side), side, turned, side);
          for (Index i = 0; i < std::min(side, rows_ - r); ++i)
            std::copy_n(
                turned + i * side, std::min(side, columns_ - c),
                d + (tap * job_.rows + first_row_ + r + i) * job_.b.columns + first_column_ + c);
        }
  }

 private:
  static constexpr Index chunk = outer_chunk<U>, chunk_units = units<U>(chunk), tile = side * side;

  /// The sums (columns, rows) of a tile; those of the next row tile follow.
  float* sum(Index tap, Index column_tile, Index row_tile) const {
    return sums_.data() + ((tap * column_tiles_ + column_tile) * row_tiles_ + row_tile) * tile;
  }

  /// Fills turned_, (column tiles, steps, 16 columns, 16 units), from `count` terms of b.
  void turn(Index first, Index count) const {
    alignas(64) U pairs[tile];
    for (Index c = 0; c < column_tiles_; ++c) {
      const Index column = first_column_ + c * side,
                  valid = std::clamp<Index>(columns_ - c * side, 0, side);
      for (Index u = 0; u < units<U>(count); u += side) {
        for (Index i = 0; i < side; ++i) {
          const Index p = 2 * (u + i);
          const auto row = [&](Index term) {
            return term < count ? job_.b.row(first + term) + column : nullptr;
          };
          simd::store(pairs + i * side, simd::pair_rows(row(p), row(p + 1), valid));
        }
        simd::transpose(pairs, side, turned_.data() + (c * chunk_units + u) * side, side);
      }
    }
  }

  /// Fills left_, (units, row tiles), from `count` rows.
  void interleave(const float* const* rows, Index count) const {
    const Index width = row_tiles_ * side, steps = (units<U>(count) + side - 1) / side;
    for (Index u = 0; u < steps * side; ++u) {
      const float* first = 2 * u < count ? rows[2 * u] + first_row_ : nullptr;
      const float* second = 2 * u + 1 < count ? rows[2 * u + 1] + first_row_ : nullptr;
      U* to = left_.data() + u * width;
      Index r = 0;
      if (second != nullptr)
        for (; r + side <= rows_; r += side)
          simd::store(to + r, simd::pair(simd::load(first + r), simd::load(second + r)));
      for (; r < width; r += side) {
        const Index valid = std::clamp<Index>(rows_ - r, 0, side);
        simd::store(to + r, simd::pair_rows(first ? first + r : nullptr,
                                            second ? second + r : nullptr, valid));
      }
    }
  }

  /// Adds to two by two tiles of sums.
  [[gnu::noinline]] void multiply(const U* turned, const U* left, Index left_stride, Index steps,
                                  float* sums) const {
    constexpr long tile_bytes = 64;
    float* next = sums + row_tiles_ * tile;
    const U* turned_next = turned + chunk_units * side;
    asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
    _tile_loadd(0, sums, tile_bytes);
    _tile_loadd(1, sums + tile, tile_bytes);
    _tile_loadd(2, next, tile_bytes);
    _tile_loadd(3, next + tile, tile_bytes);
    for (Index k = 0; k < steps; ++k) {
      _tile_loadd(6, left + k * side * left_stride, left_stride * 4);
      _tile_loadd(4, turned + k * tile, tile_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, left + k * side * left_stride + side, left_stride * 4);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, turned_next + k * tile, tile_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, tile_bytes);
    _tile_stored(1, sums + tile, tile_bytes);
    _tile_stored(2, next, tile_bytes);
    _tile_stored(3, next + tile, tile_bytes);
    asm volatile("" ::: "memory");
  }

  const GatherOuter<float>& job_;
  Index first_row_, rows_, first_column_, columns_;
  Index row_tiles_, column_tiles_;  ///< even
  Scratch<float> sums_;
  Scratch<U> turned_, left_;
  Scratch<const float*> pointers_;
};

#endif

}  // namespace ddpm::DDPM_ABI::kernels::amx
