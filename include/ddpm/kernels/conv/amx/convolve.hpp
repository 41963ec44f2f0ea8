// Convolutions of stride 1 in bfloat16 on AMX: products over blocked maps.
//
//   y_p = bias + residual + sum over blocks of 32 channels, taps: map[block, p + tap] w[block, tap]
//
// Several maps may be summed, and y may be a map again. A task is a run of groups of tiles and some
// panels of 16 columns of y. A group's sums are written while the tiles multiply the next one. What
// tiles hold of the border is computed too, and not written.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/amx/tile_group.hpp"
#include "ddpm/kernels/conv/amx/tile_weights.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// What is summed: a map, read through taps, and the weights.
struct Term {
  BlockedMap map;
  Taps taps;
  TileWeights weights;

  /// A convolution of that window.
  Term(const Window& g, const BlockedMap& of, const TileWeights& by)
      : map(of), taps(g), weights(by) {}
  /// A 1x1 convolution of a map that has a border.
  Term(const BlockedMap& of, const TileWeights& by) : map(of), taps(of), weights(by) {}
};

/// sums (16 Tiles, 16) of a group and a panel of the weights, which are prefetched `ahead` tiles
/// ahead. The more tiles, the less often a weight comes from the second-level cache.
template <int Tiles, class To>
[[gnu::noinline]] void multiply_positions(std::span<const Term> terms, const TileGroup& where,
                                          Index panel, Index ahead, float* sums,
                                          Waiting<To>& waiting) {
  constexpr long line_bytes = 64;
  constexpr Index tile = side * side;
  Index steps = 0;
  for (const Term& term : terms) steps += term.map.blocks() * term.taps.count;
  const Index to_write = waiting.count();
  Index due = 0;  // in steps
  Index at[tile_group];
  for (Index i = 0; i < tile_group; ++i) at[i] = where.positions()[i] * side;
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (const Term& term : terms) {
    const Bfloat16Pair* weights = term.weights.tile(panel, 0, 0);
    for (Index block = 0; block < term.map.blocks(); ++block)
      for (Index tap = 0; tap < term.taps.count; ++tap, weights += tile) {
        const Bfloat16Pair* rows = term.map.line(block, term.taps.lines[tap]);
        for (Index row = 0; row < side; ++row) simd::prefetch(weights + ahead * tile + row * side);
        _tile_loadd(7, weights, line_bytes);
        _tile_loadd(6, rows + at[0], line_bytes);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(6, rows + at[1], line_bytes);
        _tile_dpbf16ps(1, 6, 7);
        if constexpr (Tiles > 2) {
          _tile_loadd(6, rows + at[2], line_bytes);
          _tile_dpbf16ps(2, 6, 7);
          _tile_loadd(6, rows + at[3], line_bytes);
          _tile_dpbf16ps(3, 6, 7);
        }
        if constexpr (Tiles > 4) {
          _tile_loadd(6, rows + at[4], line_bytes);
          _tile_dpbf16ps(4, 6, 7);
          _tile_loadd(6, rows + at[5], line_bytes);
          _tile_dpbf16ps(5, 6, 7);
        }
        for (due += to_write; due >= steps; due -= steps) waiting.write_tile();
      }
  }
  waiting.finish();
  _tile_stored(0, sums, line_bytes);
  _tile_stored(1, sums + 1 * tile, line_bytes);
  if constexpr (Tiles > 2) {
    _tile_stored(2, sums + 2 * tile, line_bytes);
    _tile_stored(3, sums + 3 * tile, line_bytes);
  }
  if constexpr (Tiles > 4) {
    _tile_stored(4, sums + 4 * tile, line_bytes);
    _tile_stored(5, sums + 5 * tile, line_bytes);
  }
  asm volatile("" ::: "memory");
}

/// Sums terms whose maps have the same positions, to `to`. Pixels that see only themselves are
/// written more often than multiplied, and go in smaller groups.
template <class To>
void convolve(std::span<const Term> terms, const To& to) {
  constexpr Index task_groups = 6, wanted_tasks = 16;
  constexpr Index from_memory = 12, from_cache = 1;  // so far ahead weights are prefetched
  const PaddedLayout& at = terms[0].map.layout();
  const Index tiles = TileWalk(at, side).tiles(), panels = terms[0].weights.panels();
  const Index together = terms[0].taps.count > 1 ? tile_group : 4;
  const Index groups = (tiles + together - 1) / together;
  const Index runs = (groups + task_groups - 1) / task_groups;
  if (runs == 0) return;
  const Index parts = std::clamp<Index>(wanted_tasks / runs, 1, panels);
  parallel_for(runs * parts, [&](Index task) {
    const Tiles use;
    alignas(64) float sums[2][position_group * side];
    TileGroup located[2];
    Waiting waiting(to);
    const Index run = task / parts, part = task % parts, first = run * groups / runs;
    TileWalk walk(at, side);
    walk.start(first * together);
    Index turn = 0;
    for (Index i = first; i < (run + 1) * groups / runs; ++i) {
      TileGroup& where = located[i % 2];
      where.locate(at, walk, std::min(together, tiles - i * together));
      const auto multiply = where.count() > 4   ? multiply_positions<6, To>
                            : where.count() > 2 ? multiply_positions<4, To>
                                                : multiply_positions<2, To>;
      for (Index panel = part * panels / parts; panel < (part + 1) * panels / parts; ++panel) {
        turn ^= 1;
        multiply(terms, where, panel, i == first ? from_memory : from_cache, sums[turn], waiting);
        waiting.start(where, sums[turn], panel * side);
      }
    }
    waiting.finish();
  });
}

/// The same of one term.
template <class To>
void convolve(const Term& term, const To& to) {
  convolve(std::span(&term, 1), to);
}

/// Writes epilogue.y, conv(x) for x (N, H, W, C_in) as a map of that window.
inline void forward(const Window& g, const BlockedMap& x, const TileWeights& w,
                    const Epilogue<float>& epilogue) {
  convolve(Term(g, x, w), ToFloats(epilogue, w.columns()));
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
