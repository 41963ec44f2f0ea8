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

/// Of each tap, rows [first_row, first_row + rows) of D (all_rows, all_columns), and so for
/// columns.
struct OuterPart {
  Index taps, all_rows, first_row, rows, all_columns, first_column, columns;
};

/// The sums of a part. Tiles are kept turned.
class OuterSums {
 public:
  using U = Bfloat16Pair;

  explicit OuterSums(const OuterPart& which)
      : part(which),
        row_tiles((part.rows + group - 1) / group * 2),
        column_tiles((part.columns + group - 1) / group * 2),
        sums_(part.taps * column_tiles * row_tiles * tile, 0.0F) {}

  const OuterPart part;
  const Index row_tiles, column_tiles;  ///< even

  /// Adds the products of `steps` times 16 units to two by two tiles of a tap.
  ///   turned   two tiles of columns, turned_stride units apart: a step's 16 columns by 16 units
  ///   left     the units of the first tile of rows, left_stride units apart
  ///   second   how far the second tile of rows is from there
  ///   offsets  where in `left` each step's units begin
  [[gnu::noinline]] void multiply(Index tap, Index column_tile, Index row_tile, const U* turned,
                                  Index turned_stride, const U* left, Index left_stride,
                                  Index second, const Index* offsets, Index steps) const {
    constexpr long tile_bytes = 64;
    float* sums = sum(tap, column_tile, row_tile);
    float* next = sums + row_tiles * tile;
    asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
    _tile_loadd(0, sums, tile_bytes);
    _tile_loadd(1, sums + tile, tile_bytes);
    _tile_loadd(2, next, tile_bytes);
    _tile_loadd(3, next + tile, tile_bytes);
    for (Index k = 0; k < steps; ++k, turned += tile) {
      const U* units = left + offsets[k];
      _tile_loadd(6, units, left_stride * 4);
      _tile_loadd(4, turned, tile_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, units + second, left_stride * 4);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, turned + turned_stride, tile_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, tile_bytes);
    _tile_stored(1, sums + tile, tile_bytes);
    _tile_stored(2, next, tile_bytes);
    _tile_stored(3, next + tile, tile_bytes);
    asm volatile("" ::: "memory");
  }

  /// Writes to d, (taps, all_rows, all_columns).
  void write(float* d) const {
    alignas(64) float turned[tile];
    for (Index tap = 0; tap < part.taps; ++tap)
      for (Index r = 0; r < part.rows; r += side) {
        float* to =
            d + (tap * part.all_rows + part.first_row + r) * part.all_columns + part.first_column;
        for (Index c = 0; c < part.columns; c += side, to += side) {
          simd::transpose(sum(tap, c / side, r / side), side, turned, side);
          const Index valid = std::min(side, part.columns - c);
          for (Index i = 0; i < std::min(side, part.rows - r); ++i)
            simd::store_partial(to + i * part.all_columns, simd::load(turned + i * side), valid);
        }
      }
  }

 private:
  static constexpr Index tile = side * side;

  /// The sums (columns, rows) of a tile; those of the next row tile follow.
  float* sum(Index tap, Index column_tile, Index row_tile) const {
    return sums_.data() + ((tap * column_tiles + column_tile) * row_tiles + row_tile) * tile;
  }

  Scratch<float> sums_;
};

/// A task of gather_outer(): some rows and columns of D.
class OuterTask {
 public:
  using U = Bfloat16Pair;

  OuterTask(const GatherOuter<float>& job, Index first_row, Index last_row, Index first_column,
            Index last_column)
      : job_(job),
        sums_({job.taps, job.rows, first_row, last_row - first_row, job.b.columns, first_column,
               last_column - first_column}),
        turned_(sums_.column_tiles * chunk_units * side),
        left_(chunk_units * sums_.row_tiles * side),
        pointers_(job.taps * chunk) {}

  void add_terms(Index first, Index last, LocateOuter<float> locate) {
    const Tiles tiles;
    const Index width = sums_.row_tiles * side;
    Index offsets[chunk_units / side];
    for (Index k = 0; k < chunk_units / side; ++k) offsets[k] = k * side * width;
    for (Index p = first; p < last; p += chunk) {
      const Index count = std::min(chunk, last - p);
      turn(p, count);
      locate(p, count, pointers_.data());
      const Index steps = (units<U>(count) + side - 1) / side;
      for (Index tap = 0; tap < job_.taps; ++tap) {
        interleave(pointers_.data() + tap * chunk, count);
        for (Index c = 0; c < sums_.column_tiles; c += 2)
          for (Index r = 0; r < sums_.row_tiles; r += 2)
            sums_.multiply(tap, c, r, turned_.data() + c * chunk_units * side, chunk_units * side,
                           left_.data() + r * side, width, side, offsets, steps);
      }
    }
  }

  void write(float* d) const { sums_.write(d); }

 private:
  static constexpr Index chunk = outer_chunk<U>, chunk_units = units<U>(chunk);

  /// Fills turned_, (column tiles, steps, 16 columns, 16 units), from `count` terms of b.
  void turn(Index first, Index count) const {
    alignas(64) U pairs[side * side];
    for (Index c = 0; c < sums_.column_tiles; ++c) {
      const Index column = sums_.part.first_column + c * side,
                  valid = std::clamp<Index>(sums_.part.columns - c * side, 0, side);
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
  void interleave(const float* const* source, Index count) const {
    const Index width = sums_.row_tiles * side, steps = (units<U>(count) + side - 1) / side;
    for (Index u = 0; u < steps * side; ++u) {
      const float* first = 2 * u < count ? source[2 * u] + sums_.part.first_row : nullptr;
      const float* second = 2 * u + 1 < count ? source[2 * u + 1] + sums_.part.first_row : nullptr;
      U* to = left_.data() + u * width;
      Index r = 0;
      if (second != nullptr)
        for (; r + side <= sums_.part.rows; r += side)
          simd::store(to + r, simd::pair(simd::load(first + r), simd::load(second + r)));
      for (; r < width; r += side) {
        const Index valid = std::clamp<Index>(sums_.part.rows - r, 0, side);
        simd::store(to + r, simd::pair_rows(first ? first + r : nullptr,
                                            second ? second + r : nullptr, valid));
      }
    }
  }

  const GatherOuter<float>& job_;
  OuterSums sums_;
  Scratch<U> turned_, left_;
  Scratch<const float*> pointers_;
};

#endif

}  // namespace ddpm::DDPM_ABI::kernels::amx
