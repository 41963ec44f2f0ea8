// Convolutions of stride 1 in bfloat16 on AMX: products over blocked maps.
//
//   y_p = bias + residual + sum over blocks of 32 channels, taps: map[block, p + tap] w[block, tap]
//
// A task is a run of positions and some panels of 16 columns of y. The positions of the border are
// computed too, and left out where the sums are written.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/amx/blocked_map.hpp"
#include "ddpm/kernels/conv/amx/tile_weights.hpp"
#include "ddpm/kernels/product/epilogue.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// sums (16 Tiles, 16) of the positions from line `map` of the first block on, and a panel of
/// weights. The more tiles, the less often a weight comes from the second-level cache.
template <int Tiles>
[[gnu::noinline]] void multiply_positions(const Bfloat16Pair* map, Index block_pairs, Index blocks,
                                          const Index* tap_lines, Index taps,
                                          const Bfloat16Pair* weights, float* sums) {
  constexpr long line_bytes = 64;
  constexpr Index tile = side * side;
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  for (Index block = 0; block < blocks; ++block, map += block_pairs)
    for (Index tap = 0; tap < taps; ++tap, weights += tile) {
      const Bfloat16Pair* rows = map + tap_lines[tap] * side;
      for (Index row = 0; row < side; ++row) __builtin_prefetch(weights + tile + row * side);
      _tile_loadd(7, weights, line_bytes);
      _tile_loadd(6, rows, line_bytes);
      _tile_dpbf16ps(0, 6, 7);
      _tile_loadd(6, rows + 1 * tile, line_bytes);
      _tile_dpbf16ps(1, 6, 7);
      if constexpr (Tiles > 2) {
        _tile_loadd(6, rows + 2 * tile, line_bytes);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(6, rows + 3 * tile, line_bytes);
        _tile_dpbf16ps(3, 6, 7);
      }
      if constexpr (Tiles > 4) {
        _tile_loadd(6, rows + 4 * tile, line_bytes);
        _tile_dpbf16ps(4, 6, 7);
        _tile_loadd(6, rows + 5 * tile, line_bytes);
        _tile_dpbf16ps(5, 6, 7);
      }
    }
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

/// The positions of a group that are pixels, in runs that follow each other in y.
class PixelRuns {
 public:
  struct Run {
    Index first, count, pixel;
    const float* bias;
  };

  /// Those of positions [first, first + count).
  void locate(const PaddedLayout& at, const Epilogue<float>& epilogue, Index first, Index count) {
    const PixelWalk start(first, at.rows, at.pitch);
    Index n = start.n, h = start.h, w = start.w;
    size_ = 0;
    for (Index p = 0; p < count; p += at.pitch - w, w = 0) {
      if (h < at.OH && w < at.OW)
        runs_[size_++] = {p, std::min(at.OW - w, count - p), (n * at.OH + h) * at.OW + w,
                          epilogue.bias_of(n)};
      if (p + at.pitch - w >= count) return;
      if (++h == at.rows) h = 0, ++n;
    }
  }
  const Run* begin() const { return runs_; }
  const Run* end() const { return runs_ + size_; }

 private:
  Run runs_[position_group];
  Index size_ = 0;
};

/// Writes the sums of a group, 16 columns from `column` on, and prefetches the output `next` pixels
/// on.
inline void write_group(const PixelRuns& runs, const float* sums, Index column, Index C, Index next,
                        const Epilogue<float>& to) {
  using P = simd::Pack<float>;
  const Index valid = std::min(side, C - column);
  for (const auto& run : runs) {
    const float* from = sums + run.first * side;
    const float* residual = to.residual_at(run.pixel * C + column);
    float* y = to.y + run.pixel * C + column;
    const P bias = run.bias ? simd::load_partial(run.bias + column, valid) : P(0.0F);
    for (Index i = 0; i < run.count; ++i, from += side, y += C) {
      __builtin_prefetch(y + next * C, 1);
      if (residual) __builtin_prefetch(residual + (i + next) * C);
      write_sums<float>(simd::load(from) + bias, valid, nullptr,
                        residual ? residual + i * C : nullptr, y);
    }
  }
}

/// Writes epilogue.y (N, OH, OW, columns) for a map of that window. Pixels that see only themselves
/// are written more often than multiplied, and go in smaller groups.
inline void convolve(const Window& g, const BlockedMap& map, const TileWeights& weights,
                     const Epilogue<float>& epilogue) {
  constexpr Index task_groups = 6, wanted_tasks = 16;
  const PaddedLayout& at = map.layout();
  const Index positions = at.positions(), panels = weights.panels(), taps = g.taps();
  const Index together = taps > 1 ? position_group : 4 * side;
  const Index groups = (positions + together - 1) / together;
  const Index runs = (groups + task_groups - 1) / task_groups;
  if (runs == 0) return;
  const Index parts = std::clamp<Index>(wanted_tasks / runs, 1, panels);
  Index tap_lines[max_conv_taps];
  for (Index tap = 0; tap < taps; ++tap) tap_lines[tap] = tap / g.KW * at.pitch + tap % g.KW;
  parallel_for(runs * parts, [&](Index task) {
    const Tiles tiles;
    alignas(64) float sums[position_group * side];
    PixelRuns pixels;
    const Index run = task / parts, part = task % parts;
    for (Index i = run * groups / runs; i < (run + 1) * groups / runs; ++i) {
      const Index p = i * together;
      const Index count = std::min(together, positions - p);
      pixels.locate(at, epilogue, p, count);
      const auto multiply = count > 4 * side   ? multiply_positions<6>
                            : count > 2 * side ? multiply_positions<4>
                                               : multiply_positions<2>;
      for (Index panel = part * panels / parts; panel < (part + 1) * panels / parts; ++panel) {
        multiply(map.line(0, p), at.lines() * side, map.blocks(), tap_lines, taps,
                 weights.tile(panel, 0, 0), sums);
        write_group(pixels, sums, panel * side, weights.columns(), together, epilogue);
      }
    }
  });
}

/// conv(x) for x (N, H, W, C_in) as a map of that window, and w (KH, KW, C_in, C_out).
inline void forward(const Window& g, const BlockedMap& x, View<const float> w,
                    const Epilogue<float>& epilogue) {
  convolve(g, x, fixed_or_fresh(w), epilogue);
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
