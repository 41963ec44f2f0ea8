// Matrix products whose rows are gathered through pointers: what matmul and every convolution are.
//
//   out_r = bias_r + residual_r + sum_tap source(tap, r) B[tap]
//
// taps: kernel positions (1 for a plain product); units of terms (tile.hpp) a tap; columns. Work is
// cut into blocks of rows and groups of panels by shape only.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>

#include "ddpm/core/function_ref.hpp"
#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/product/amx.hpp"
#include "ddpm/kernels/product/epilogue.hpp"
#include "ddpm/kernels/product/pack.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Rows of one task: pointers for 9 taps stay in the first-level cache; whole tiles of 6 and of 8.
inline constexpr Index row_block = 96;

/// Pointers that a `locate` callback fills for a block of rows; see gather_rows.
template <class U>
struct RowPointers {
  const U** source;     ///< (taps, row_block)
  Sum<U>** out;         ///< (row_block)
  const Sum<U>** bias;  ///< (row_block); not written if there is none
};

template <class U>
struct GatherRows {
  using T = Sum<U>;
  Index rows, taps, units, columns;
  const U* packed;                 ///< panels of (all taps, units, width)
  Index packed_taps;               ///< taps in `packed`, at least `taps`
  const Index* tap_ids = nullptr;  ///< which of them each tap uses; null: 0, 1, 2, ...
  bool has_bias = false;
  const T* residual = nullptr;  ///< laid out as the output
  T* out_base = nullptr;        ///< start of the output, to find the residual's place
};

namespace detail {

/// Adds bias and residual to a finished tile and writes its first `rows` rows, `columns` columns.
template <class U, int Packs>
void write_tile(const Tile<U, Packs>& tile, const GatherRows<U>& job, Sum<U>* const* out,
                const Sum<U>* const* bias, Index first, Index rows, Index columns) {
  using T = Sum<U>;
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
template <class U, int Packs>
[[gnu::always_inline]] inline void prefetch_tiles(const GatherRows<U>& job, Sum<U>* out, Index rows,
                                                  const U* source) {
  using T = Sum<U>;
  if (out)
    for (Index r = 0; r < rows; ++r) {
      T* next = out + (tile_rows + r) * job.columns;
      for (int q = 0; q < Packs; ++q) simd::prefetch<true>(next + q * simd::width<T>);
      if (job.residual) prefetch_panel<T, Packs>(job.residual + (next - job.out_base));
    }
  if (source)
    for (Index k = 0; k < tile_rows * job.units; k += cache_line<U>)
      simd::prefetch(source + 2 * tile_rows * job.units + k);
}

/// The tiles of `count` located rows against panels [first_panel, last_panel).
template <class U, int Packs>
void multiply_block(const GatherRows<U>& job, const RowPointers<U>& pointers, Index count,
                    Index first_panel, Index last_panel) {
  constexpr Index width = panel_width<U, Packs>;
  Sum<U>* const* out = pointers.out;
  const U* const* source = pointers.source;
  const bool dense_out = count > 1 && out[1] - out[0] == job.columns;
  const bool dense_rows = job.taps == 1 && source[1] - source[0] == job.units;
  for (Index panel = first_panel; panel < last_panel; ++panel) {
    const U* packed = job.packed + panel * job.packed_taps * job.units * width;
    const bool from_memory = dense_rows && panel == first_panel;
    for (Index r = 0; r < count; r += tile_rows) {
      const Index rows = std::min<Index>(tile_rows, count - r);
      prefetch_tiles<U, Packs>(job, dense_out ? out[r] + panel * width : nullptr, rows,
                               from_memory ? source[r] : nullptr);
      Tile<U, Packs> tile;
      tile.multiply_rows(source + r, row_block, job.taps, job.tap_ids, job.units, packed);
      write_tile(tile, job, out + r, pointers.bias + r, panel * width, rows,
                 std::min(width, job.columns - panel * width));
    }
  }
}

#ifdef DDPM_AMX
/// The same on AMX, for whole tiles of pairs.
inline void multiply_block_on_tiles(const GatherRows<Bfloat16Pair>& job,
                                    const RowPointers<Bfloat16Pair>& pointers, Index count,
                                    Index first_panel, Index last_panel) {
  using U = Bfloat16Pair;
  constexpr Index width = panel_width<U, 2>;
  const amx::Tiles tiles;
  amx::GroupRows group(job.taps, job.units);
  alignas(64) float sums[amx::group * width];
  for (Index r = 0; r < count; r += amx::group) {
    const Index rows = std::min(amx::group, count - r);
    const amx::TileRows* located = group.locate(pointers.source + r, row_block, rows);
    for (Index panel = first_panel; panel < last_panel; ++panel) {
      amx::multiply_rows(located, rows > amx::side, job.taps, job.tap_ids, job.units,
                         job.packed + panel * job.packed_taps * job.units * width, sums);
      for (Index first = 0; first < rows; first += tile_rows) {
        Tile<U, 2> tile;
        tile.load(sums + first * width);
        write_tile(tile, job, pointers.out + r + first, pointers.bias + r + first, panel * width,
                   std::min<Index>(tile_rows, rows - first),
                   std::min(width, job.columns - panel * width));
      }
    }
  }
}
#endif

}  // namespace detail

/// Runs `job` with panels of Packs packs. locate(first, count, pointers) fills the pointers of rows
/// [first, first + count); the rows that pad the last tile are filled here.
template <class U, int Packs>
void gather_rows(const GatherRows<U>& job,
                 FunctionRef<void(Index, Index, const RowPointers<U>&)> locate) {
  constexpr Index width = panel_width<U, Packs>, wanted_tasks = 32;
  const Index blocks = (job.rows + row_block - 1) / row_block;
  const Index panels = (job.columns + width - 1) / width;
  if (blocks == 0) return;
  assert(job.taps <= job.packed_taps && (!job.residual || job.out_base));
  const Index groups = std::clamp<Index>(wanted_tasks / blocks, 1, panels);
  parallel_for(blocks * groups, [&](Index task) {
    const Index first = task / groups * row_block, group = task % groups;
    const Index count = std::min(row_block, job.rows - first);
    Scratch<const U*> source(job.taps * row_block);
    Sum<U>* out[row_block];
    const Sum<U>* bias[row_block];
    const RowPointers<U> pointers{source.data(), out, bias};
    locate(first, count, pointers);
#ifdef DDPM_AMX
    if constexpr (std::is_same_v<U, Bfloat16Pair> && Packs == 2)
      if (job.units % amx::side == 0 && amx::granted())
        return detail::multiply_block_on_tiles(job, pointers, count, group * panels / groups,
                                               (group + 1) * panels / groups);
#endif
    const Index padded = (count + tile_rows - 1) / tile_rows * tile_rows;
    for (Index tap = 0; tap < job.taps; ++tap)
      for (Index r = count; r < padded; ++r)
        source[tap * row_block + r] = source[tap * row_block + count - 1];
    detail::multiply_block<U, Packs>(job, pointers, count, group * panels / groups,
                                     (group + 1) * panels / groups);
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
