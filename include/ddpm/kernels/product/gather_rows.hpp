// Matrix products whose rows are gathered through pointers: what matmul and every convolution are.
//
//   out_r = bias_r + residual_r + sum_tap source(tap, r) B[tap]
//
// taps: kernel positions (1 for a plain product); K terms a tap; N columns. Work is cut into blocks
// of rows and groups of panels by shape only.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/product/epilogue.hpp"
#include "ddpm/kernels/product/pack.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Rows of one task: pointers for 9 taps stay in the first-level cache; whole tiles of 6 and of 8.
inline constexpr Index row_block = 96;

/// Pointers that a `locate` callback fills for a block of rows; see gather_rows.
template <class T>
struct RowPointers {
  const T** source;  ///< (taps, row_block)
  T** out;           ///< (row_block)
  const T** bias;    ///< (row_block); not written if there is none
};

template <class T>
struct GatherRows {
  Index rows, taps, terms, columns;
  const T* packed;                 ///< panels of (all taps, terms, width)
  Index packed_taps;               ///< taps in `packed`, at least `taps`
  const Index* tap_ids = nullptr;  ///< which of them each tap uses; null: 0, 1, 2, ...
  bool has_bias = false;
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
    const T* added = job.has_bias ? bias[r] + first : nullptr;
    const T* residual = job.residual ? job.residual + (target - job.out_base) : nullptr;
    for (int q = 0; q < Packs; ++q) {
      const Index start = q * simd::width<T>;
      const Index count = std::min(simd::width<T>, columns - start);
      if (count <= 0) break;
      write_sums(tile.sum[r][q], count, added ? added + start : nullptr,
                 residual ? residual + start : nullptr, target + start);
    }
  }
}

/// Prefetches what the next tiles of a panel need, of rows that follow each other in memory: output
/// and residual of the next tile, and the rows of the one after it. A null pointer: neither.
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
  assert(job.taps <= job.packed_taps && (!job.residual || job.out_base));
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

}  // namespace ddpm::DDPM_ABI::kernels
