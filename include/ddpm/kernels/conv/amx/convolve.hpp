// Convolutions of stride 1 in bfloat16 on AMX: products over blocked maps.
//
//   y_p = bias + residual + sum over blocks of 32 channels, taps: map[block, p + tap] w[block, tap]
//
// Several maps may be summed, and y may be a map again. A task is a run of positions and some
// panels of 16 columns of y. The positions of the border are computed too, and left out where the
// sums are written.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/kernels/conv/amx/blocked_map.hpp"
#include "ddpm/kernels/conv/amx/tile_weights.hpp"
#include "ddpm/kernels/product/epilogue.hpp"

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

/// sums (16 Tiles, 16) of the positions from `first` on, and a panel of the weights, which are
/// prefetched `ahead` tiles ahead. The more tiles, the less often a weight comes from the
/// second-level cache.
template <int Tiles>
[[gnu::noinline]] void multiply_positions(std::span<const Term> terms, Index first, Index panel,
                                          Index ahead, float* sums) {
  constexpr long line_bytes = 64;
  constexpr Index tile = side * side;
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
        const Bfloat16Pair* rows = term.map.line(block, first + term.taps.lines[tap]);
        for (Index row = 0; row < side; ++row)
          __builtin_prefetch(weights + ahead * tile + row * side);
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
    Index first, count;  ///< within the group
    Index image, pixel;
  };

  /// Those of positions [first, first + count).
  void locate(const PaddedLayout& at, Index first, Index count) {
    const PixelWalk start(first, at.rows, at.pitch);
    Index n = start.n, h = start.h, w = start.w;
    size_ = 0;
    for (Index p = 0; p < count; p += at.pitch - w, w = 0) {
      if (h < at.OH && w < at.OW)
        runs_[size_++] = {p, std::min(at.OW - w, count - p), n, (n * at.OH + h) * at.OW + w};
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

/// Writes sums to y of an epilogue.
struct ToFloats {
  const Epilogue<float>& epilogue;
  Index C;  ///< columns of y

  /// The group's from position `first` on, 16 columns from `column` on.
  void write(const PixelRuns& runs, const float* sums, Index, Index column) const {
    const Index valid = std::min(side, C - column);
    for (const auto& run : runs) {
      const float* from = sums + run.first * side;
      const Index place = run.pixel * C + column;
      const float* residual = epilogue.residual_at(place);
      float* y = epilogue.y + place;
      const float* bias = epilogue.bias_of(run.image);
      const auto added = bias ? simd::load_partial(bias + column, valid) : simd::Pack<float>(0.0F);
      for (Index i = 0; i < run.count; ++i, from += side, y += C)
        write_sums<float>(simd::load(from) + added, valid, nullptr,
                          residual ? residual + i * C : nullptr, y);
    }
  }
};

/// Writes sums plus a bias, rounded, to a map of the same positions, of whole blocks.
struct ToMap {
  const BlockedMap& map;
  View<const float> bias;  ///< (C) or (N, C)

  void write(const PixelRuns& runs, const float* sums, Index first, Index column) const {
    const Index before = map.layout().before;
    for (const auto& run : runs) {
      const float* of_image = bias.data + (bias.shape.rank() == 2 ? run.image * bias.dim(1) : 0);
      const auto added = simd::load(of_image + column);
      const float* from = sums + run.first * side;
      Bfloat16Pair* to = map.line(column / block_channels, before + first + run.first) +
                         column % block_channels / 2;
      for (Index i = 0; i < run.count; ++i, from += side, to += side)
        simd::store_rounded(to, simd::load(from) + added);
    }
  }
};

/// Sums terms whose maps have the same positions, to `to`. Pixels that see only themselves are
/// written more often than multiplied, and go in smaller groups.
template <class To>
void convolve(std::span<const Term> terms, const To& to) {
  constexpr Index task_groups = 6, wanted_tasks = 16;
  constexpr Index from_memory = 12, from_cache = 1;  // so far ahead weights are prefetched
  const PaddedLayout& at = terms[0].map.layout();
  const Index positions = at.positions(), panels = terms[0].weights.panels();
  const Index together = terms[0].taps.count > 1 ? position_group : 4 * side;
  const Index groups = (positions + together - 1) / together;
  const Index runs = (groups + task_groups - 1) / task_groups;
  if (runs == 0) return;
  const Index parts = std::clamp<Index>(wanted_tasks / runs, 1, panels);
  parallel_for(runs * parts, [&](Index task) {
    const Tiles tiles;
    alignas(64) float sums[position_group * side];
    PixelRuns pixels;
    const Index run = task / parts, part = task % parts;
    for (Index i = run * groups / runs; i < (run + 1) * groups / runs; ++i) {
      const Index first = i * together, count = std::min(together, positions - first);
      pixels.locate(at, first, count);
      const auto multiply = count > 4 * side   ? multiply_positions<6>
                            : count > 2 * side ? multiply_positions<4>
                                               : multiply_positions<2>;
      for (Index panel = part * panels / parts; panel < (part + 1) * panels / parts; ++panel) {
        multiply(terms, first, panel, i == run * groups / runs ? from_memory : from_cache, sums);
        to.write(pixels, sums, first, panel * side);
      }
    }
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
  convolve(Term(g, x, w), ToFloats{epilogue, w.columns()});
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
