// The weight gradient of a convolution of stride 1 in bfloat16 on AMX: an outer product over the
// positions of two blocked maps, in which the border's are zeros of dy.
//
//   D[tap]^T = sum_p dy_p^T x_{p + tap}
//
// Steps are of 32 positions, which are pixels only if a row is of whole steps. Pairs are of
// positions that follow each other. Those of x are made from even positions on, and from odd ones
// if a tap may need them; each tap then reads one of the two, a little further on.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/amx/convolve.hpp"
#include "ddpm/kernels/product/amx_outer.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// dy as the left factor of tiles: (16 columns, steps of 32 positions, 16 columns, 16 pairs).
class TurnedMap {
 public:
  explicit TurnedMap(const BlockedMap& map)
      : steps_(TileWalk(map.layout(), group).tiles()),
        tiles_(2 * map.blocks() * steps_ * side * side) {
    constexpr Index together = 8;  // steps of a task
    parallel_for(map.blocks() * ((steps_ + together - 1) / together), [&](Index task) {
      const Index block = task % map.blocks(), first = task / map.blocks() * together;
      TileWalk walk(map.layout(), group);
      walk.start(first);
      for (Index step = first; step < std::min(steps_, first + together); ++step, walk.next())
        turn(map.line(block, map.layout().before + walk.position()), block, step);
    });
  }

  Bfloat16Pair* tile(Index column_tile, Index step) const {
    return tiles_.data() + (column_tile * steps_ + step) * side * side;
  }
  Index steps() const { return steps_; }

 private:
  void turn(const Bfloat16Pair* lines, Index block, Index step) const {
    alignas(64) Bfloat16Pair pairs[side * side];
    for (Index half = 0; half < 2; ++half) {
      for (Index i = 0; i < side; ++i)
        simd::store(pairs + i * side,
                    pair_lines(lines + 2 * i * side, lines + (2 * i + 1) * side, half));
      simd::transpose(pairs, side, tile(2 * block + half, step), side);
    }
  }

  Index steps_;
  Scratch<Bfloat16Pair> tiles_;
};

/// A task: some rows of D, in channels of x, and some columns, in channels of dy.
class WeightGradientTask {
 public:
  using U = Bfloat16Pair;
  static constexpr Index chunk = 8;  ///< steps whose operands stay in the first-level cache

  WeightGradientTask(const Taps& taps, const BlockedMap& x, const TurnedMap& dy,
                     const OuterPart& part)
      : taps_(taps),
        x_(x),
        dy_(dy),
        sums_(part),
        copies_(x.layout().images % 2 == 0 ? 1 : 2),
        left_units_(span / 2 + x.layout().behind / 2 + 1),
        left_(copies_ * sums_.row_tiles * left_units_ * side) {}

  /// Steps [first, last).
  void add_steps(Index first, Index last) {
    if (first >= last) return;
    const Tiles tiles;
    TileWalk walk(x_.layout(), group);
    walk.start(first);
    while (first < last) {
      const Index start = walk.position();
      Index positions[chunk], count = 0;
      for (Index p = start; count < std::min(chunk, last - first) && p + group <= start + span;
           walk.next(), p = walk.position())
        positions[count++] = p - start;
      for (Index r = 0; r < sums_.row_tiles; r += 2)
        interleave(start, positions[count - 1] + group, r);
      add_chunk(first, positions, count);
      first += count;
    }
  }

  void write(float* d) const { sums_.write(d); }

 private:
  static constexpr Index span = 384;  ///< positions of a chunk, with the border

  /// Steps from `step` on, that far from the first position of left_.
  void add_chunk(Index step, const Index* positions, Index count) const {
    const Index odd = sums_.row_tiles * left_units_ * side, next = dy_.steps() * side * side;
    Index offsets[max_conv_taps][chunk];
    for (Index tap = 0; tap < taps_.count; ++tap)
      for (Index k = 0; k < count; ++k) {
        const Index line = positions[k] + taps_.lines[tap];
        offsets[tap][k] = line % 2 * odd + line / 2 * side;
      }
    for (Index c = 0; c < sums_.column_tiles; c += 2)
      for (Index r = 0; r < sums_.row_tiles; r += 2)
        for (Index tap = 0; tap < taps_.count; ++tap)
          sums_.multiply(tap, c, r, dy_.tile(sums_.part.first_column / side + c, step), next,
                         left_.data() + r * left_units_ * side, side, left_units_ * side,
                         offsets[tap], count);
  }

  /// Fills two row tiles of left_, (even or odd, row tiles, units, 16), for what taps see of
  /// `positions` positions.
  void interleave(Index first, Index positions, Index row_tile) const {
    const Index block = (sums_.part.first_row + row_tile * side) / block_channels;
    const Index units = positions / 2 + x_.layout().behind / 2 + 1;
    const Index half = left_units_ * side;  // from the lower half of the channels to the upper
    U* even = left_.data() + row_tile * half;
    U* odd = even + sums_.row_tiles * half;
    const simd::PairPack low = half_places(0), high = half_places(1);
    const U* lines = x_.line(block, first);
    simd::PairPack a = simd::load(lines);
    for (Index u = 0; u < units; ++u, even += side, odd += side, lines += 2 * side) {
      const simd::PairPack b = simd::load(lines + side), c = simd::load(lines + 2 * side);
      simd::store(even, pair_lines(a, b, low));
      simd::store(even + half, pair_lines(a, b, high));
      if (copies_ == 2) {
        simd::store(odd, pair_lines(b, c, low));
        simd::store(odd + half, pair_lines(b, c, high));
      }
      a = c;
    }
  }

  const Taps& taps_;
  const BlockedMap& x_;
  const TurnedMap& dy_;
  OuterSums sums_;
  Index copies_, left_units_;
  Scratch<U> left_;
};

/// A window over dy whose map has the positions of that of x.
inline Window aligned(const Window& g) {
  const PaddedLayout at(g);
  return {g.N, g.OH, g.OW, g.OH, g.OW, 1, 1, 1, {0, at.rows - g.OH, 0, at.pitch - g.OW}};
}

/// dw (taps, C_in, C_out) from the map x, and dy as a map of the same positions.
inline void weight_gradient(const Taps& taps, const BlockedMap& x, Index C_in, const BlockedMap& dy,
                            Index C_out, float* dw) {
  constexpr Index task_rows = block_channels, wanted_tasks = 8;
  const Index groups = (C_in + task_rows - 1) / task_rows;
  const Index panels = (C_out + outer_columns - 1) / outer_columns;
  const TurnedMap turned_dy(dy);
  const Index chunks =
      (turned_dy.steps() + WeightGradientTask::chunk - 1) / WeightGradientTask::chunk;
  const auto add = [&](Index task, Index first, Index last, float* d) {
    const Index row = task % groups * task_rows, column = task / groups * outer_columns;
    WeightGradientTask work(taps, x, turned_dy,
                            {taps.count, C_in, row, std::min(task_rows, C_in - row), C_out, column,
                             std::min(outer_columns, C_out - column)});
    work.add_steps(first * WeightGradientTask::chunk,
                   std::min(turned_dy.steps(), last * WeightGradientTask::chunk));
    work.write(d);
  };
  add_in_parts<float>(groups * panels, chunks, wanted_tasks, taps.count * C_in * C_out, dw, add);
}

/// Writes dx and dw as conv2d_backward() does, dx of the map as the kernel sees it; null: not
/// wanted.
inline void backward(const Window& g, View<const float> dy, const BlockedMap& x,
                     View<const float> w, float* dx, float* dw) {
  const PaddedLayout here(g), there(turned(g));
  const bool same_positions = here.same_positions(there);
  const Window own = dx || same_positions ? turned(g) : aligned(g);
  const BlockedMap map(own, dy);
  if (dx) forward(own, map, TileWeights::turned(w), {{}, nullptr, dx});
  if (!dw) return;
  const bool usable = !dx || same_positions;
  weight_gradient(Taps(g), x, w.dim(2), usable ? map : BlockedMap(aligned(g), dy), w.dim(3), dw);
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
