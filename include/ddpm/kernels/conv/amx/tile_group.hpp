// Groups of tiles of positions, and where their sums go: to floats, or to a map again.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/kernels/conv/amx/blocked_map.hpp"
#include "ddpm/kernels/product/epilogue.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// Some tiles of positions, and the pixels in them.
class TileGroup {
 public:
  /// Pixels of an image that follow each other. Their sums and positions are `step` apart.
  struct Run {
    Index count, step;
    Index row, position;  ///< of the first one: its row of the group's sums
    Index image, pixel;   ///< pixel of y
  };

  /// The next `count` tiles.
  void locate(const PaddedLayout& at, TileWalk& walk, Index count) {
    count_ = count;
    size_ = 0;
    for (Index tile = 0, row = 0; tile < count; ++tile) {
      const Index first = positions_[tile] = walk.position(), before = row;
      first_run_[tile] = size_;
      walk.for_each_part([&](Index pixels, Index n, Index h, Index w) {
        const Index valid = h < at.OH && n * at.images < at.N ? std::min(pixels, at.OW - w) : 0;
        for (Index i = 0; i < at.images && valid > 0; ++i) {
          const Index image = n * at.images + i;
          runs_[size_++] = {valid,   at.images,
                            row + i, first + row - before + i,
                            image,   (image * at.OH + h) * at.OW + w};
        }
        row += pixels * at.images;
      });
    }
    first_run_[count] = size_;
    for (Index tile = count; tile < tile_group; ++tile) positions_[tile] = positions_[count - 1];
  }

  Index count() const { return count_; }
  /// The first position of each tile; behind the last one that position again.
  const Index* positions() const { return positions_; }
  std::span<const Run> runs(Index tile) const {
    return {runs_ + first_run_[tile], runs_ + first_run_[tile + 1]};
  }

 private:
  Index positions_[tile_group], first_run_[tile_group + 1];
  Index count_ = 0, size_ = 0;
  Run runs_[position_group];
};

/// Sums of a group that wait to be written: a tile after the other, while the tiles multiply the
/// next ones.
template <class To>
class Waiting {
 public:
  explicit Waiting(const To& to) : to_(to) {}

  /// From now on those of 16 columns of a group. All before must have been written.
  void start(const TileGroup& where, const float* sums, Index column) {
    group_ = &where;
    next_ = 0;
    count_ = where.count();
    sums_ = sums;
    column_ = column;
  }
  Index count() const { return count_ - next_; }
  [[gnu::always_inline]] void write_tile() {
    if (next_ == count_) return;
    for (const auto& run : group_->runs(next_++)) to_.write(run, sums_ + run.row * side, column_);
  }
  void finish() {
    while (count() > 0) write_tile();
  }

 private:
  const To& to_;
  const TileGroup* group_ = nullptr;
  Index next_ = 0, count_ = 0;  ///< tiles
  const float* sums_ = nullptr;
  Index column_ = 0;
};

/// Writes sums to y of an epilogue.
class ToFloats {
 public:
  ToFloats(const Epilogue<float>& epilogue, Index C) : epilogue_(epilogue), C_(C) {}

  void write(const TileGroup::Run& run, const float* sums, Index column) const {
    const Index place = run.pixel * C_ + column, valid = std::min(side, C_ - column);
    const float* bias = epilogue_.bias_of(run.image);
    const auto added = bias ? simd::load_partial(bias + column, valid) : simd::Pack<float>(0.0F);
    const float* residual = epilogue_.residual_at(place);
    float* y = epilogue_.y + place;
    for (Index i = 0; i < run.count; ++i, sums += run.step * side, y += C_)
      write_sums<float>(simd::load(sums) + added, valid, nullptr,
                        residual ? residual + i * C_ : nullptr, y);
  }

 private:
  const Epilogue<float>& epilogue_;
  Index C_;  ///< columns of y
};

/// Writes sums plus a bias, rounded, to a map of the same positions, of whole blocks.
class ToMap {
 public:
  /// bias (C), (N, C) or empty.
  ToMap(const BlockedMap& map, View<const float> bias)
      : map_(map), bias_(bias.data), next_image_(bias.shape.rank() == 2 ? bias.dim(1) : 0) {}

  void write(const TileGroup::Run& run, const float* sums, Index column) const {
    const auto added =
        bias_ ? simd::load(bias_ + run.image * next_image_ + column) : simd::Pack<float>(0.0F);
    Bfloat16Pair* to = map_.line(column / block_channels, map_.layout().before + run.position) +
                       column % block_channels / 2;
    for (Index i = 0; i < run.count; ++i, sums += run.step * side, to += run.step * side)
      simd::store_rounded(to, simd::load(sums) + added);
  }

 private:
  const BlockedMap& map_;
  const float* bias_;
  Index next_image_;
};

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
