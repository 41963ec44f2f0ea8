// Outer products whose rows are gathered through pointers: what every weight gradient is.
//
//   D[tap] = sum_p source(tap, p)^T b_p
//
// taps: kernel positions (1 for a plain product); p: the terms, pixels. Work is cut into groups of
// rows of D, panels of its columns and runs of terms by shape only.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/product/pack.hpp"

namespace ddpm::DDPM_ABI::kernels {

template <class T>
struct GatherOuter {
  Index terms, taps;  ///< terms p; taps of `source`
  Index rows;         ///< length of source(tap, p)
  Matrix<const T> b;  ///< (terms, columns)
};

namespace detail {

/// Terms between two visits to memory: a packed chunk of b then fills half a first-level cache.
inline constexpr Index outer_chunk = 128;
/// Rows of D a task keeps, whole tiles: nine taps of them stay in the second-level cache. A single
/// tap has room for more, and a packed chunk of b then serves more of them.
inline Index outer_rows(Index taps) { return (taps == 1 ? 256 : 64) / tile_rows * tile_rows; }

/// One task of gather_outer: rows [first_row, last_row), one panel, terms [first, last).
template <class T, int Packs>
class OuterTask {
 public:
  OuterTask(const GatherOuter<T>& job, Index first_row, Index last_row, Index first_column)
      : job_(job),
        first_row_(first_row),
        last_row_(last_row),
        first_column_(first_column),
        tiles_((last_row - first_row + tile_rows - 1) / tile_rows),
        sums_(job.taps * tiles_ * tile_size),
        panel_(outer_chunk * panel_width<T, Packs>),
        pointers_(job.taps * outer_chunk),
        padded_(outer_chunk * tile_rows) {
    std::fill_n(sums_.data(), job.taps * tiles_ * tile_size, T(0));
  }

  template <class Locate>
  void add_terms(Index first, Index last, const Locate& locate) {
    for (Index p = first; p < last; p += outer_chunk) {
      const Index count = std::min(outer_chunk, last - p);
      const Matrix<const T>& b = job_.b;
      pack_panel<T, Packs>({b.row(p), count, b.columns, b.stride}, first_column_, panel_.data());
      locate(p, count, pointers_.data());
      for (Index tap = 0; tap < job_.taps; ++tap)
        for (Index tile = 0; tile < tiles_; ++tile)
          add_tile(tap, tile, count, b.row(std::min(p + outer_chunk, b.rows - 1)));
    }
  }

  /// Writes to d, (taps, rows, columns).
  void write(T* d) const {
    const Index columns = std::min(panel_width<T, Packs>, job_.b.columns - first_column_);
    for (Index tap = 0; tap < job_.taps; ++tap)
      for (Index row = first_row_; row < last_row_; ++row) {
        const T* sum =
            sums_.data() + tap * tiles_ * tile_size + (row - first_row_) * panel_width<T, Packs>;
        std::copy_n(sum, columns, d + (tap * job_.rows + row) * job_.b.columns + first_column_);
      }
  }

 private:
  static constexpr Index tile_size = tile_rows * panel_width<T, Packs>;

  /// next_b: the first row of b of the next chunk. Tiles prefetch its lines meanwhile, and, if
  /// there is one tap, every other tile for those of the rows, which then lie evenly apart.
  void add_tile(Index tap, Index tile, Index count, const T* next_b) {
    const T** rows = pointers_.data() + tap * outer_chunk;
    const Index line = tile / 2;
    const T* ahead = next_b + first_column_ + line % Packs * simd::width<T>;
    Index ahead_stride = line < Packs ? job_.b.stride : 0;
    if (tile % 2 == 0 && job_.taps == 1 && count > 1) {
      ahead_stride = rows[1] - rows[0];
      ahead = rows[0] + outer_chunk * ahead_stride + first_row_ + line * cache_line<T>;
    }
    Index first = first_row_ + tile * tile_rows;
    const Index valid = std::min<Index>(tile_rows, last_row_ - first);
    const T* short_rows[outer_chunk];
    if (valid < tile_rows) {  // a whole tile would read past the end of each row
      for (Index p = 0; p < count; ++p) {
        T* row = padded_.data() + p * tile_rows;
        std::copy_n(rows[p] + first, valid, row);
        std::fill(row + valid, row + tile_rows, T(0));
        short_rows[p] = row;
      }
      rows = short_rows;
      first = 0;
    }
    T* sums = sums_.data() + (tap * tiles_ + tile) * tile_size;
    Tile<T, Packs> sum;
    sum.load(sums);
    sum.add_outer(rows, first, count, panel_.data(), ahead, ahead_stride);
    sum.store(sums);
  }

  const GatherOuter<T>& job_;
  Index first_row_, last_row_, first_column_, tiles_;
  Scratch<T> sums_, panel_;
  Scratch<const T*> pointers_;
  Scratch<T> padded_;
};

}  // namespace detail

/// Writes d (taps, rows, columns). locate(first, count, source) fills source (taps, outer_chunk)
/// with the pointers of terms [first, first + count). Terms are split where the result by itself
/// gives too few tasks; the parts are added in index order.
template <class T, int Packs, class Locate>
void gather_outer(const GatherOuter<T>& job, T* d, const Locate& locate) {
  constexpr Index width = panel_width<T, Packs>, wanted_tasks = 16;
  const Index panels = (job.b.columns + width - 1) / width;
  const Index task_rows = detail::outer_rows(job.taps);
  const Index groups = (job.rows + task_rows - 1) / task_rows;
  const Index chunks = (job.terms + detail::outer_chunk - 1) / detail::outer_chunk;
  const Index splits =
      std::clamp<Index>(wanted_tasks / (panels * groups), 1, std::max<Index>(1, chunks / 2));
  const Index size = job.taps * job.rows * job.b.columns;
  Scratch<T> parts((splits - 1) * size);
  parallel_for(splits * panels * groups, [&](Index task) {
    const Index split = task / (panels * groups), panel = task / groups % panels;
    const Index first_row = task % groups * task_rows;
    detail::OuterTask<T, Packs> outer(job, first_row, std::min(job.rows, first_row + task_rows),
                                      panel * width);
    outer.add_terms(split * chunks / splits * detail::outer_chunk,
                    std::min(job.terms, (split + 1) * chunks / splits * detail::outer_chunk),
                    locate);
    outer.write(split == 0 ? d : parts.data() + (split - 1) * size);
  });
  constexpr Index block = 4096;
  if (splits > 1)
    parallel_for((size + block - 1) / block, [&](Index task) {
      const Index first = task * block, count = std::min(block, size - first);
      for (Index split = 1; split < splits; ++split)
        simd::map([](auto sum, auto part) { return sum + part; }, count, d + first, d + first,
                  parts.data() + (split - 1) * size + first);
    });
}

}  // namespace ddpm::DDPM_ABI::kernels
