// Weights in bfloat16, laid out for AMX (product/amx.hpp), and a store of those that do not change.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <map>

#include "ddpm/kernels/product/amx.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

inline constexpr Index block_channels = 2 * side;

/// A convolution's weights in tiles: (panels of 16 columns, blocks of 32 terms, taps, 16 pairs,
/// 16).
class TileWeights {
 public:
  /// Of weights (KH, KW, terms, columns).
  static TileWeights plain(View<const float> weights) {
    const Index terms = weights.dim(2), columns = weights.dim(3);
    const Index taps = weights.dim(0) * weights.dim(1);
    const float* w = weights.data;
    const TileWeights result(taps, terms, columns);
    parallel_for(result.blocks_ * taps, [&](Index task) {
      const Index block = task / taps, tap = task % taps, first = block * block_channels;
      const auto row = [&](Index k) {
        return k < terms ? w + (tap * terms + k) * columns : nullptr;
      };
      for (Index u = 0; u < side; ++u) {
        const float *even = row(first + 2 * u), *odd = row(first + 2 * u + 1);
        for (Index panel = 0, c = 0; panel < result.panels(); ++panel, c += side)
          simd::store(result.tile(panel, block, tap) + u * side,
                      simd::pair_rows(even ? even + c : nullptr, odd ? odd + c : nullptr,
                                      std::min(side, columns - c)));
      }
    });
    return result;
  }

  /// Of weights (KH, KW, columns, terms), turned by 180 degrees: what a data gradient takes.
  static TileWeights turned(View<const float> weights) {
    const Index terms = weights.dim(3), columns = weights.dim(2);
    const Index taps = weights.dim(0) * weights.dim(1);
    const float* w = weights.data;
    const TileWeights result(taps, terms, columns);
    parallel_for(result.panels() * taps, [&](Index task) {
      const Index panel = task / taps, tap = task % taps;
      alignas(64) Bfloat16Pair rows[side * side] = {};
      for (Index block = 0; block < result.blocks_; ++block) {
        const Index first = block * block_channels;
        for (Index c = 0; c < std::min(side, columns - panel * side); ++c)
          simd::store(rows + c * side,
                      simd::neighbour_pairs(w + (tap * columns + panel * side + c) * terms + first,
                                            std::min(block_channels, terms - first)));
        simd::transpose(rows, side, result.tile(panel, block, taps - 1 - tap), side);
      }
    });
    return result;
  }

  Index columns() const { return columns_; }
  Index panels() const { return (columns_ + side - 1) / side; }
  Bfloat16Pair* tile(Index panel, Index block, Index tap) const {
    return pairs_.data() + ((panel * blocks_ + block) * taps_ + tap) * side * side;
  }

 private:
  TileWeights(Index taps, Index terms, Index columns)
      : taps_(taps),
        blocks_((terms + block_channels - 1) / block_channels),
        columns_(columns),
        pairs_({panels() * blocks_ * taps, side * side}) {}

  Index taps_, blocks_, columns_;
  Tensor<Bfloat16Pair> pairs_;
};

/// Tiles of weights that do not change while the store lives: made once.
class WeightStore {
 public:
  /// From now on these do not change.
  void admit(const Tensor<float>& w) { entries_.try_emplace(w.data(), Entry{w, {}}); }

  /// The tiles of w (KH, KW, terms, columns), all of admitted weights or a part; null if they are
  /// not.
  const TileWeights* find(View<const float> w) {
    auto next = entries_.upper_bound(w.data);
    if (next == entries_.begin()) return nullptr;
    Entry& entry = std::prev(next)->second;
    const Index place = w.data - entry.weights.data();
    if (place + w.size() > entry.weights.size()) return nullptr;
    const Key key{place, w.dim(0) * w.dim(1), w.dim(2), w.dim(3)};
    auto at = entry.tiles.find(key);
    if (at == entry.tiles.end()) at = entry.tiles.emplace(key, TileWeights::plain(w)).first;
    return &at->second;
  }

 private:
  using Key = std::array<Index, 4>;  // place, taps, terms, columns
  struct Entry {
    Tensor<float> weights;  ///< held, so that nothing else comes to lie there
    std::map<Key, TileWeights> tiles;
  };
  std::map<const float*, Entry, std::less<>> entries_;
};

inline thread_local WeightStore* weight_store = nullptr;

/// The tiles of w, out of the store if it has them.
inline TileWeights fixed_or_fresh(View<const float> w) {
  const TileWeights* fixed = weight_store ? weight_store->find(w) : nullptr;
  return fixed ? *fixed : TileWeights::plain(w);
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
