// The weight gradient of convolve.hpp's convolution.
//
//   V'[i] = U[i]^T Z[i] over tiles     U: planes of the input, Z: of dy
//
// In pairs of bfloat16 the planes U and Z hold rounded pairs of tiles.
//
// Narrow layers are cut by tiles: a task's U, Z and all of V' stay in its second-level cache. Wide
// ones are cut by V': U and Z of a block of tiles are made first, by all threads and sized for the
// shared cache.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/winograd/planes.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

/// U and Z of a block of tiles, in whole panels. A row is a tile, or two.
template <class U>
class TwoPlanes {
 public:
  using T = Sum<U>;

  TwoPlanes(Index tiles, Index C_in, Index C_out)
      : memory_(size(tiles, C_in) + size(tiles, C_out)),
        u(memory_.data(), units<U>(tiles), panels(C_in)),
        z(memory_.data() + size(tiles, C_in), units<U>(tiles), panels(C_out)) {}

  /// Of tiles [first, first + count).
  void fill(const Window& g, View<const T> x, View<const T> dy, Index first, Index count) const {
    constexpr auto of = terms_of_unit<U> == 1 ? PairOf::channels : PairOf::tiles;
    fill_planes<InputTransform<U>, of>(x.data, g.input(), x.shape.back(), g.padding, Tiling(g),
                                       first, count, u);
    fill_planes<OutputGradient<U>, of>(dy.data, MapExtent{g.OH, g.OW}, dy.shape.back(), {},
                                       Tiling(g), first, count, z);
  }

 private:
  static Index panels(Index columns) {
    constexpr Index width = panel_width<U, packs>;
    return (columns + width - 1) / width * width;
  }
  static Index size(Index tiles, Index columns) {
    return Planes<U>::size(units<U>(tiles), panels(columns));
  }

  Scratch<U> memory_;

 public:
  const Planes<U> u, z;
};

/// One task of the weight gradient: rows [row, row + rows), at most task_rows, of one panel, over a
/// block of tiles. Each pass over the tiles prefetches one cache line a tile of the next product's
/// planes, which lie too far apart for the machine to foresee.
template <class U, class S>
void add_weight_gradient(const Planes<U>& u, const Planes<U>& z, Index tiles, Index C_in,
                         Index C_out, Index row, Index rows, Index panel, bool first_block,
                         Sum<U>* dw) {
  using T = Sum<U>;
  constexpr Index width = panel_width<U, packs>, plane = S::task_rows * width + Planes<U>::gap;
  const Index u_lines = (rows + cache_line<U> - 1) / cache_line<U>;
  Scratch<T> v(products * plane);
  for (Index i = 0; i < products; ++i)
    for (Index r = 0; r < rows; r += tile_rows) {
      const Index next = std::min<Index>(i + 1, products - 1), line = r / tile_rows;
      const auto [ahead, ahead_stride] =
          line < u_lines
              ? std::pair(u.at(next, 0) + row + line * cache_line<U>, u.row)
              : std::pair(z.at(next, 0) + panel * width + (line - u_lines) * cache_line<U> % width,
                          z.row);
      Tile<U, packs> tile;
      tile.clear();
      tile.add_outer(u.at(i, 0) + row + r, u.row, units<U>(tiles), z.at(i, 0) + panel * width,
                     z.row, ahead, ahead_stride);
      tile.store(v.data() + i * plane + r * width);
    }
  for (Index r = 0; r < rows; ++r)
    for (Index q = 0, c = panel * width; q < packs && c < C_out; ++q, c += simd::width<T>) {
      const Index valid = std::min(simd::width<T>, C_out - c);
      transform<FilterGradient<U>>(
          [&](int i, int j) {
            return simd::load(v.data() + (i * inputs + j) * plane + r * width + q * simd::width<T>);
          },
          [&](int i, int j, simd::Pack<T> value) {
            T* target = dw + ((i * taps + j) * C_in + row + r) * C_out + c;
            if (!first_block) value += simd::load_partial(target, valid);
            simd::store_partial(target, value, valid);
          });
    }
}

/// The weight gradient of narrow layers: a task takes a share of the tiles, for all channels. Its
/// sums V', and U and Z of a few tiles at a time, stay in the second-level cache. The shares are
/// added in order.
template <class U, class S>
class NarrowWeightGradient {
 public:
  using T = Sum<U>;
  static constexpr Index shares = 8, width = panel_width<U, packs>;

  NarrowWeightGradient(const Window& g, View<const T> x, View<const T> dy)
      : g_(g),
        x_(x),
        dy_(dy),
        tiling_(g),
        C_in_(x.shape.back()),
        C_out_(dy.shape.back()),
        panels_((C_out_ + width - 1) / width),
        rows_((C_in_ + tile_rows - 1) / tile_rows * tile_rows),
        plane_(panels_ * rows_ * width + Planes<U>::gap),
        sums_(shares * products * plane_) {}

  /// True if the sums fill less than half of the cache and every share has tiles enough.
  static bool pays(Index tiles, Index C_in, Index C_out) {
    return C_in * C_out <= S::narrow_weights && tiles >= 2 * shares * S::private_tiles;
  }

  void write(T* dw) const {
    parallel_for(shares, [&](Index share) { add_share(share); });
    parallel_for(C_in_, [&](Index row) {
      for (Index c = 0; c < C_out_; c += simd::width<T>) {
        const Index valid = std::min(simd::width<T>, C_out_ - c);
        const T* sums = sums_.data() + (c / width * rows_ + row) * width + c % width;
        transform<FilterGradient<U>>(
            [&](int i, int j) {
              const T* sum = sums + (i * inputs + j) * plane_;
              simd::Pack<T> total = simd::load(sum);
              for (Index share = 1; share < shares; ++share)
                total += simd::load(sum + share * products * plane_);
              return total;
            },
            [&](int i, int j, const simd::Pack<T>& value) {
              simd::store_partial(dw + ((i * taps + j) * C_in_ + row) * C_out_ + c, value, valid);
            });
      }
    });
  }

 private:
  void add_share(Index share) const {
    const Index tiles = tiling_.count(), end = (share + 1) * tiles / shares;
    T* sums = sums_.data() + share * products * plane_;
    std::fill_n(sums, products * plane_, T(0));
    const TwoPlanes<U> planes(S::private_tiles, C_in_, C_out_);
    for (Index first = share * tiles / shares; first < end; first += S::private_tiles) {
      const Index count = std::min(S::private_tiles, end - first);
      planes.fill(g_, x_, dy_, first, count);
      add_products(planes.u, planes.z, first, count, sums);
    }
  }

  /// Prefetches the maps of the next tiles, which may lie in memory, a value further with every
  /// term.
  void add_products(const Planes<U>& u, const Planes<U>& z, Index first, Index count,
                    T* sums) const {
    const Index rows = units<U>(count);
    const Index calls = products * panels_ * rows_ / tile_rows, half = (calls + 1) / 2;
    const auto map_ahead = [&](View<const T> map) {
      const Index tiles = tiling_.count(), size = map.shape.size();
      const Index from = std::min(first + count, tiles) * size / tiles;
      const Index to = std::min(first + 2 * count, tiles) * size / tiles;
      return std::pair(map.data + from, (to - from + half * rows - 1) / (half * rows));
    };
    const auto [x, x_step] = map_ahead(x_);
    const auto [dy, dy_step] = map_ahead(dy_);
    Index call = 0;
    for (Index i = 0; i < products; ++i)
      for (Index panel = 0; panel < panels_; ++panel)
        for (Index r = 0; r < rows_; r += tile_rows, ++call) {
          T* sum = sums + i * plane_ + (panel * rows_ + r) * width;
          Tile<U, packs> tile;
          tile.load(sum);
          tile.add_outer(
              u.at(i, 0) + r, u.row, rows, z.at(i, 0) + panel * width, z.row,
              call < half ? x + call * rows * x_step : dy + (call - half) * rows * dy_step,
              call < half ? x_step : dy_step);
          tile.store(sum);
        }
  }

  const Window& g_;
  View<const T> x_, dy_;
  Tiling tiling_;
  Index C_in_, C_out_, panels_, rows_, plane_;
  Scratch<T> sums_;
};

/// Writes dw (3, 3, C_in, C_out) from x (N, H, W, C_in) and dy (N, OH, OW, C_out).
template <class U, class S = Sizes>
void weight_gradient(const Window& g, View<const Sum<U>> x, View<const Sum<U>> dy, Sum<U>* dw) {
  constexpr Index width = panel_width<U, packs>;
  const Index C_in = x.shape.back(), C_out = dy.shape.back(), tiles = Tiling(g).count();
  using Narrow = NarrowWeightGradient<U, S>;
  if (Narrow::pays(tiles, C_in, C_out)) return Narrow(g, x, dy).write(dw);
  constexpr Index wanted_tasks = 4;
  const Index panels = (C_out + width - 1) / width;
  // Narrow layers get shorter tasks, so that there are some for other threads.
  Index tiles_of_rows = std::min(S::task_rows, C_in + tile_rows - 1) / tile_rows;
  while (tiles_of_rows > 1 && C_in * panels < wanted_tasks * tiles_of_rows * tile_rows)
    tiles_of_rows = (tiles_of_rows + 1) / 2;
  const Index rows = tiles_of_rows * tile_rows, groups = (C_in + rows - 1) / rows;
  const Index block = tiles_of_block<U, S>(tiles, (C_in + C_out) / terms_of_unit<U>);
  const TwoPlanes<U> planes(block, C_in, C_out);
  for (Index first = 0; first < tiles; first += block) {
    const Index count = std::min(block, tiles - first);
    planes.fill(g, x, dy, first, count);
    parallel_for(groups * panels, [&](Index task) {
      const Index row = task / panels * rows;
      add_weight_gradient<U, S>(planes.u, planes.z, count, C_in, C_out, row,
                                std::min(rows, C_in - row), task % panels, first == 0, dw);
    });
  }
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
