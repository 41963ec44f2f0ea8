// The 36 planes in which a Winograd convolution multiplies: their tiles, layout, sizes and filling.
//
// A tile is 4x4 pixels of the output; a plane holds one of its 36 transformed values for all tiles
// and channels.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/conv/geometry.hpp"
#include "ddpm/kernels/conv/winograd/transform.hpp"
#include "ddpm/kernels/product/pack.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

inline constexpr int packs = 2;  ///< of a panel; layers of 32 channels or more fill it

/// The sizes of the blocking, a template parameter of what follows, so that bench_winograd can try
/// others. Measured on Zen 4 and Zen 5 (1 MB of second-level cache a core, 32 MB shared).
struct Sizes {
  static constexpr Index block_bytes = Index{4} << 20;  ///< of all planes of one block of tiles
  static constexpr Index task_tiles = 128 / tile_rows * tile_rows;  ///< tiles whose M a task holds
  static constexpr Index task_terms = 64;                           ///< C_in whose V a task holds
  /// Up to so many tiles the weights are not written as planes. Six sums a tile, for a row of the
  /// transformed kernel, are to stay in registers.
  static constexpr int few_tiles = tile_rows < 8 ? 2 : 4;
  static constexpr Index private_terms = 256;  ///< up to so many C_in a task makes its own U
  static constexpr Index private_tiles = 4 * tile_rows;  ///< tiles whose planes such a task holds
  static constexpr Index narrow_weights = 2048;  ///< C_in C_out whose V' a task holds, whole
  static constexpr Index task_rows = 64 / tile_rows * tile_rows;  ///< C_in of a task of weights
  /// Rows of weights prefetched before they are transformed: the nine taps of a row often lie a
  /// power of two apart, and more rows would push each other out of the same few sets of the first
  /// level.
  static constexpr Index filters_ahead = 3;
};

/// The tiles of a window's small map.
struct Tiling {
  Index N, rows, columns;

  explicit Tiling(const Window& g)
      : N(g.N), rows((g.OH + outputs - 1) / outputs), columns((g.OW + outputs - 1) / outputs) {}
  Index count() const { return N * rows * columns; }
  PixelWalk at(Index tile) const { return {tile, rows, columns}; }
};

/// Where the 36 planes (tiles, columns) of a block lie, in whole packs. By itself it takes odd
/// strides, which keep the planes of one tile out of each other's cache sets.
template <class T>
struct Planes {
  T* data;
  Index row, plane;                      ///< strides
  Index pack = simd::width<T>;           ///< from one pack of a row to the next
  Index row_packs = (row - gap) / pack;  ///< those past the columns are zero

  static constexpr Index gap = cache_line<T>;
  static Index row_stride(Index columns) {
    constexpr Index width = panel_width<T, packs>;
    return (columns + width - 1) / width * width + gap;
  }
  static Index size(Index tiles, Index columns) {
    return products * (tiles * row_stride(columns) + gap) + gap;
  }
  Planes(T* memory, Index tiles, Index columns)
      : data(memory), row(row_stride(columns)), plane(tiles * row + gap) {}
  Planes(T* memory, Index row_step, Index plane_step, Index pack_step, Index packs_of_row)
      : data(memory), row(row_step), plane(plane_step), pack(pack_step), row_packs(packs_of_row) {}
  T* at(Index product, Index tile) const {
    assert(product >= 0 && product < products && tile >= 0);
    return data + product * plane + tile * row;
  }
};

/// Writes the planes of tiles [first, first + count) from maps of C channels: a tile's patch of
/// Transform::from pixels square begins at four times its place, less the padding; what lies
/// outside is zero. What the tile to the right sees besides is prefetched meanwhile: a patch's rows
/// are too many streams for the machine to foresee.
template <class Transform, class T>
void fill_planes(const T* x, const MapExtent& map, Index C, const Padding& padding,
                 const Tiling& tiling, Index first, Index count, const Planes<T>& planes) {
  constexpr Index from = Transform::from, width = simd::width<T>, together = 4;
  Scratch<T> zeros(C);
  std::fill_n(zeros.data(), C, T(0));
  parallel_for((count + together - 1) / together, [&](Index task) {
    const Index begin = task * together, end = std::min(begin + together, count);
    PixelWalk at = tiling.at(first + begin);
    for (Index tile = begin; tile < end; ++tile, at.next()) {
      const T* source[from][from];
      const Index top = at.h * outputs - padding.top, left = at.w * outputs - padding.left;
      Index column[from];
      for (Index j = 0; j < from; ++j) column[j] = map.stored_column(left + j) * C;
      const Index ahead = map.stored_column(std::min(left + from, map.W)) * C,
                  ahead_end = map.stored_column(std::min(left + from + outputs, map.W)) * C;
      for (Index i = 0; i < from; ++i) {
        const bool row_inside = map.has_row(top + i);
        const T* row = x + (at.n * map.in_H + map.stored_row(top + i)) * map.in_W * C;
        for (Index j = 0; j < from; ++j)
          source[i][j] = row_inside && map.has_column(left + j) ? row + column[j] : zeros.data();
        if (row_inside)
          for (Index k = ahead; k < ahead_end; k += cache_line<T>) __builtin_prefetch(row + k);
      }
      T* target = planes.at(0, tile);
      Index c = 0;
      for (; c < C; c += width, target += planes.pack) {
        const bool whole = c + width <= C;
        transform<Transform, T>(
            [&](int i, int j) {
              const T* from_pixel = source[i][j] + c;
              return whole ? simd::load(from_pixel) : simd::load_partial(from_pixel, C - c);
            },
            [&](int i, int j, const simd::Pack<T>& v) {
              simd::store(target + (i * inputs + j) * planes.plane, v);
            });
      }
      for (; c < planes.row_packs * width; c += width, target += planes.pack)
        for (int i = 0; i < products; ++i)
          simd::store(target + i * planes.plane, simd::Pack<T>(T(0)));
    }
  });
}

/// Tiles of one block: as many as the shared cache holds, for `columns` columns in all.
template <class T, class S>
Index tiles_of_block(Index tiles, Index columns) {
  const Index bytes = products * columns * Index{sizeof(T)};
  const Index fit = std::max(S::block_bytes / bytes / S::task_tiles, Index{1}) * S::task_tiles;
  const Index blocks = (tiles + fit - 1) / fit;
  const Index each = (tiles + blocks - 1) / std::max(blocks, Index{1});
  return (each + tile_rows - 1) / tile_rows * tile_rows;
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
