// Matrix products whose rows are gathered through pointers: what matmul and every convolution are.
//
//   gather_rows:   out_r = bias_r + residual_r + sum_tap source(tap, r) B[tap]
//   gather_outer:  D[tap] = sum_p source(tap, p)^T b_p
//
// taps: kernel positions (1 for a plain product); K terms a tap; N columns. Work is cut into blocks
// of rows and groups of panels by shape alone.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/tile.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Rows of one task: pointers for 9 taps stay in the first-level cache; whole tiles of 6 and of 8.
inline constexpr Index row_block = 96;

/// Pointers that a `locate` callback fills for a block of rows; see gather_rows.
template <class T>
struct RowPointers {
  const T** source;  ///< (taps, row_block)
  T** out;           ///< (row_block)
  const T** bias;    ///< (row_block); left alone if there is none
};

template <class T>
struct GatherRows {
  Index rows, taps, terms, columns;
  const T* packed;       ///< panels of (all taps, terms, width)
  Index packed_taps;     ///< taps in `packed`, at least `taps`
  const Index* tap_ids;  ///< which of them each tap uses; null: 0, 1, 2, ...
  bool has_bias;
  const T* residual = nullptr;  ///< laid out as the output
  T* out_base = nullptr;        ///< start of the output, to find the residual's place
};

namespace detail {

/// Adds bias and residual to a finished tile and writes its first `rows` rows, `columns` columns.
template <class T, int Packs>
void write_tile(const Tile<T, Packs>& tile, const GatherRows<T>& job, T* const* out,
                const T* const* bias, Index first, Index rows, Index columns) {
  for (Index r = 0; r < rows; ++r) {
    T* target = out[r] + first;
    const T* residual = job.residual ? job.residual + (target - job.out_base) : nullptr;
    for (int q = 0; q < Packs; ++q) {
      const Index start = q * simd::width<T>;
      const Index count = std::min(simd::width<T>, columns - start);
      if (count <= 0) break;
      simd::Pack<T> value = tile.sum[r][q];
      if (count == simd::width<T>) {
        if (job.has_bias) value += simd::load(bias[r] + first + start);
        if (residual) value += simd::load(residual + start);
        simd::store(target + start, value);
      } else {
        if (job.has_bias) value += simd::load_partial(bias[r] + first + start, count);
        if (residual) value += simd::load_partial(residual + start, count);
        simd::store_partial(target + start, value, count);
      }
    }
  }
}

/// Asks for what the next tiles of a panel need, of rows that follow each other in memory: output
/// and residual of the next, and the rows of the one after it. Null: not.
template <class T, int Packs>
[[gnu::always_inline]] inline void prefetch_tiles(const GatherRows<T>& job, T* out, Index rows,
                                                  const T* source) {
  if (out)
    for (Index r = 0; r < rows; ++r) {
      T* next = out + (tile_rows + r) * job.columns;
      for (int q = 0; q < Packs; ++q) __builtin_prefetch(next + q * simd::width<T>, 1);
      if (job.residual) prefetch_panel<T, Packs>(job.residual + (next - job.out_base));
    }
  if (source)
    for (Index k = 0; k < tile_rows * job.terms; k += cache_line<T>)
      __builtin_prefetch(source + 2 * tile_rows * job.terms + k);
}

/// The tiles of `count` located rows against panels [first_panel, last_panel).
template <class T, int Packs>
void multiply_block(const GatherRows<T>& job, const RowPointers<T>& pointers, Index count,
                    Index first_panel, Index last_panel) {
  constexpr Index width = panel_width<T, Packs>;
  T* const* out = pointers.out;
  const T* const* source = pointers.source;
  const bool dense_out = count > 1 && out[1] - out[0] == job.columns;
  const bool dense_rows = job.taps == 1 && source[1] - source[0] == job.terms;
  for (Index panel = first_panel; panel < last_panel; ++panel) {
    const T* packed = job.packed + panel * job.packed_taps * job.terms * width;
    const bool from_memory = dense_rows && panel == first_panel;
    for (Index r = 0; r < count; r += tile_rows) {
      const Index rows = std::min<Index>(tile_rows, count - r);
      prefetch_tiles<T, Packs>(job, dense_out ? out[r] + panel * width : nullptr, rows,
                               from_memory ? source[r] : nullptr);
      Tile<T, Packs> tile;
      tile.multiply_rows(source + r, row_block, job.taps, job.tap_ids, job.terms, packed);
      write_tile(tile, job, out + r, pointers.bias + r, panel * width, rows,
                 std::min(width, job.columns - panel * width));
    }
  }
}

}  // namespace detail

/// Runs `job` with panels of Packs packs. locate(first, count, pointers) fills the pointers of rows
/// [first, first + count); the rows that pad the last tile are filled here.
template <class T, int Packs, class Locate>
void gather_rows(const GatherRows<T>& job, const Locate& locate) {
  constexpr Index width = panel_width<T, Packs>, wanted_tasks = 32;
  const Index blocks = (job.rows + row_block - 1) / row_block;
  const Index panels = (job.columns + width - 1) / width;
  if (blocks == 0) return;
  const Index groups = std::clamp<Index>(wanted_tasks / blocks, 1, panels);
  parallel_for(blocks * groups, [&](Index task) {
    const Index first = task / groups * row_block, group = task % groups;
    const Index count = std::min(row_block, job.rows - first);
    Scratch<const T*> source((job.taps + 1) * row_block);
    T* out[row_block];
    const RowPointers<T> pointers{source.data(), out, source.data() + job.taps * row_block};
    locate(first, count, pointers);
    const Index padded = (count + tile_rows - 1) / tile_rows * tile_rows;
    for (Index tap = 0; tap < job.taps; ++tap)
      for (Index r = count; r < padded; ++r)
        source[tap * row_block + r] = source[tap * row_block + count - 1];
    detail::multiply_block<T, Packs>(job, pointers, count, group * panels / groups,
                                     (group + 1) * panels / groups);
  });
}

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

  /// next_b: the first row of b of the next chunk. Tiles ask for its lines meanwhile, and, if there
  /// is one tap, every other tile for those of the rows, which then lie evenly apart.
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
/// with the pointers of terms [first, first + count). Terms are split where the result alone gives
/// too few tasks; the parts are added in index order.
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
