// Outer products whose rows are gathered through pointers: what every weight gradient is.
//
//   D[tap] = sum_p source(tap, p)^T b_p
//
// taps: kernel positions (1 for a plain product); p: the terms, pixels. In pairs, two terms that
// follow each other are rounded and interleaved. Work is cut into groups of rows of D, panels of
// its columns and runs of terms by shape only.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/product/amx_outer.hpp"
#include "ddpm/kernels/product/outer.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// Rows of D a task keeps, whole tiles: nine taps of them stay in the second-level cache. A single
/// tap has room for more, and a packed chunk of b then serves more of them.
inline Index outer_rows(Index taps) { return (taps == 1 ? 256 : 64) / tile_rows * tile_rows; }

/// One task of gather_outer: rows [first_row, last_row), one panel, terms [first, last).
template <class U, int Packs>
class OuterTask {
 public:
  using T = Sum<U>;

  OuterTask(const GatherOuter<T>& job, Index first_row, Index last_row, Index first_column)
      : job_(job),
        first_row_(first_row),
        last_row_(last_row),
        first_column_(first_column),
        tiles_((last_row - first_row + tile_rows - 1) / tile_rows),
        sums_(job.taps * tiles_ * tile_size),
        panel_(units<U>(outer_chunk<U>) * panel_width<U, Packs>),
        pointers_(job.taps * outer_chunk<U>),
        left_(units<U>(outer_chunk<U>) * (in_place ? tile_rows : tiles_ * tile_rows)) {
    std::fill_n(sums_.data(), job.taps * tiles_ * tile_size, T(0));
  }

  void add_terms(Index first, Index last, LocateOuter<T> locate) {
    for (Index p = first; p < last; p += outer_chunk<U>) {
      const Index count = std::min(outer_chunk<U>, last - p);
      const Matrix<const T>& b = job_.b;
      pack_panel<U, Packs>({b.row(p), count, b.columns, b.stride}, first_column_, panel_.data());
      locate(p, count, pointers_.data());
      for (Index tap = 0; tap < job_.taps; ++tap) {
        if constexpr (!in_place) interleave(pointers_.data() + tap * outer_chunk<U>, count);
        for (Index tile = 0; tile < tiles_; ++tile)
          add_tile(tap, tile, count, b.row(std::min(p + outer_chunk<U>, b.rows - 1)));
      }
    }
  }

  /// Writes to d, (taps, rows, columns).
  void write(T* d) const {
    const Index columns = std::min(panel_width<U, Packs>, job_.b.columns - first_column_);
    for (Index tap = 0; tap < job_.taps; ++tap)
      for (Index row = first_row_; row < last_row_; ++row) {
        const T* sum =
            sums_.data() + tap * tiles_ * tile_size + (row - first_row_) * panel_width<U, Packs>;
        std::copy_n(sum, columns, d + (tap * job_.rows + row) * job_.b.columns + first_column_);
      }
  }

 private:
  static constexpr Index tile_size = tile_rows * panel_width<U, Packs>;
  static constexpr bool in_place = std::is_same_v<U, T>;  ///< the rows are read where they lie

  /// next_b: the first row of b of the next chunk. Tiles prefetch its lines meanwhile, and, if
  /// there is one tap, every other tile for those of the rows, which then lie evenly apart.
  void add_tile(Index tap, Index tile, Index count, const T* next_b) {
    const T* const* rows = pointers_.data() + tap * outer_chunk<U>;
    const Index line = tile / 2;
    const T* ahead = next_b + first_column_ + line % Packs * simd::width<T>;
    Index ahead_stride = line < Packs ? job_.b.stride : 0;
    if (tile % 2 == 0 && job_.taps == 1 && count > 1) {
      ahead_stride = rows[1] - rows[0];
      ahead = rows[0] + outer_chunk<U> * ahead_stride + first_row_ + line * cache_line<T>;
    }
    T* sums = sums_.data() + (tap * tiles_ + tile) * tile_size;
    Tile<U, Packs> sum;
    sum.load(sums);
    if constexpr (in_place)
      add_in_place(sum, rows, first_row_ + tile * tile_rows, count, ahead, ahead_stride);
    else
      sum.add_outer(left_.data() + tile * tile_rows, tiles_ * tile_rows, units<U>(count),
                    panel_.data(), panel_width<U, Packs>, ahead, 2 * ahead_stride);
    sum.store(sums);
  }

  void add_in_place(Tile<T, Packs>& sum, const T* const* rows, Index first, Index count,
                    const T* ahead, Index ahead_stride) {
    const Index valid = std::min<Index>(tile_rows, last_row_ - first);
    const T* short_rows[outer_chunk<U>];
    if (valid < tile_rows) {  // a whole tile would read past the end of each row
      for (Index p = 0; p < count; ++p) {
        T* row = left_.data() + p * tile_rows;
        std::copy_n(rows[p] + first, valid, row);
        std::fill(row + valid, row + tile_rows, T(0));
        short_rows[p] = row;
      }
      rows = short_rows;
      first = 0;
    }
    sum.add_outer(rows, first, count, panel_.data(), ahead, ahead_stride);
  }

  /// Fills left_ (units, tiles tile_rows) from `count` rows.
  void interleave(const T* const* rows, Index count) {
    const Index size = tiles_ * tile_rows, valid = last_row_ - first_row_;
    for (Index p = 0; p < count; p += 2) {
      U* to = left_.data() + p / 2 * size;
      const T* first = rows[p] + first_row_;
      const T* second = p + 1 < count ? rows[p + 1] + first_row_ : first;
      const Index there = p + 1 < count ? valid : 0;  // the values of the second row
      Index r = 0;
      for (; r + simd::width<T> <= there; r += simd::width<T>)
        simd::store(to + r, simd::pair(simd::load(first + r), simd::load(second + r)));
      for (; r < size; ++r)
        to[r] = bfloat16_pair(r < valid ? first[r] : 0, r < there ? second[r] : 0);
    }
  }

  const GatherOuter<T>& job_;
  Index first_row_, last_row_, first_column_, tiles_;
  Scratch<T> sums_;
  Scratch<U> panel_;
  Scratch<const T*> pointers_;
  Scratch<U> left_;  ///< in place, the rows of a short tile; else all of a tap
};

}  // namespace detail

/// Writes d (taps, rows, columns). Terms are split where the result by itself gives too few tasks.
template <class U, int Packs>
void gather_outer(const GatherOuter<Sum<U>>& job, Sum<U>* d, LocateOuter<Sum<U>> locate) {
  using T = Sum<U>;
  constexpr Index width = panel_width<U, Packs>, wanted_tasks = 16;
  const bool on_tiles = terms_of_unit<U> == 2 && amx::granted();
  const Index task_columns = on_tiles ? amx::outer_columns : width;
  const Index panels = (job.b.columns + task_columns - 1) / task_columns;
  const Index task_rows = detail::outer_rows(job.taps);
  const Index groups = (job.rows + task_rows - 1) / task_rows;
  const Index chunks = (job.terms + outer_chunk<U> - 1) / outer_chunk<U>;
  const auto add = [&](Index task, Index first, Index last, T* part) {
    const Index first_row = task % groups * task_rows,
                last_row = std::min(job.rows, first_row + task_rows);
    const auto run = [&](auto&& outer) {
      outer.add_terms(first * outer_chunk<U>, std::min(job.terms, last * outer_chunk<U>), locate);
      outer.write(part);
    };
    const Index column = task / groups * task_columns;
#ifdef DDPM_AMX
    if constexpr (terms_of_unit<U> == 2)
      if (on_tiles)
        return run(amx::OuterTask(job, first_row, last_row, column,
                                  std::min(job.b.columns, column + task_columns)));
#endif
    run(detail::OuterTask<U, Packs>(job, first_row, last_row, column));
  };
  add_in_parts<T>(panels * groups, chunks, wanted_tasks, job.taps * job.rows * job.b.columns, d,
                  add);
}

}  // namespace ddpm::DDPM_ABI::kernels
