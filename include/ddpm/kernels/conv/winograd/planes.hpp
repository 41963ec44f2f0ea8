// The 36 planes in which a Winograd convolution multiplies: their tiles, layout, sizes and filling.
//
// A tile is 4x4 pixels of the output; a plane holds one of its 36 transformed values for all tiles
// and channels, in units U: pairs of bfloat16 hold two channels or two tiles.
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
  static constexpr Index task_units = 64;  ///< units of C_in whose V a task holds
  /// Up to so many tiles the weights are not written as planes. Six sums a tile, for a row of the
  /// transformed kernel, are to stay in registers.
  static constexpr int few_tiles = tile_rows < 8 ? 2 : 4;
  static constexpr Index private_units = 256;  ///< up to so many of C_in a task makes its own U
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

/// Where the 36 planes (rows, columns) of a block lie, in whole packs. By itself it takes odd
/// strides, which keep the planes of one tile out of each other's cache sets.
template <class U>
struct Planes {
  static constexpr Index width = simd::width<Sum<U>>, gap = cache_line<U>;

  U* data;
  Index row, plane;                      ///< strides
  Index pack = width;                    ///< from one pack of a row to the next
  Index row_packs = (row - gap) / pack;  ///< those past the columns are zero

  static Index row_stride(Index columns) { return (columns + width - 1) / width * width + gap; }
  static Index size(Index rows, Index columns) {
    return products * (rows * row_stride(columns) + gap) + gap;
  }
  Planes(U* memory, Index rows, Index columns)
      : data(memory), row(row_stride(columns)), plane(rows * row + gap) {}
  Planes(U* memory, Index row_step, Index plane_step, Index pack_step, Index packs_of_row)
      : data(memory), row(row_step), plane(plane_step), pack(pack_step), row_packs(packs_of_row) {}
  U* at(Index product, Index place) const {
    assert(product >= 0 && product < products && place >= 0);
    return data + product * plane + place * row;
  }
};

/// What the two values of a pair belong to.
enum class PairOf {
  channels,  ///< of a tile, neighbours: the terms of a convolution's sums
  tiles,     ///< of a channel, neighbours: the terms of its weight gradient's sums
};

/// The Size x Size pixels of C channels that a tile sees; those outside of the map are zero.
template <class T, int Size>
struct Patch {
  const T* pixels[Size][Size];
  Index C;

  /// Of the tile `at`; begins at four times its place, less the padding. What the tile to the right
  /// sees besides is prefetched: a patch's rows are too many streams for the machine to foresee.
  Patch(const T* x, const MapExtent& map, Index channels, const Padding& padding,
        const PixelWalk& at, const T* zeros)
      : C(channels) {
    const Index top = at.h * outputs - padding.top, left = at.w * outputs - padding.left;
    Index column[Size];
    for (Index j = 0; j < Size; ++j) column[j] = map.stored_column(left + j) * C;
    const Index ahead = map.stored_column(std::min(left + Size, map.W)) * C,
                ahead_end = map.stored_column(std::min(left + Size + outputs, map.W)) * C;
    for (Index i = 0; i < Size; ++i) {
      const bool row_inside = map.has_row(top + i);
      const T* row = x + (at.n * map.in_H + map.stored_row(top + i)) * map.in_W * C;
      for (Index j = 0; j < Size; ++j)
        pixels[i][j] = row_inside && map.has_column(left + j) ? row + column[j] : zeros;
      if (row_inside)
        for (Index k = ahead; k < ahead_end; k += cache_line<T>) simd::prefetch(row + k);
    }
  }

  /// Calls write(i, j, pack) for the transformed values of a pack of channels from c on.
  template <class Transform, class Write>
  void transform_pack(Index c, const Write& write) const {
    constexpr Index width = simd::width<T>;
    const bool whole = c + width <= C;
    transform<Transform>(
        [&](int i, int j) {
          const T* from = pixels[i][j] + c;
          return whole ? simd::load(from) : simd::load_partial(from, C - c);
        },
        write);
  }

  /// Writes them to `values`. A call of its own: pairs need it twice.
  template <class Transform>
  [[gnu::noinline]] void transform_pack_to(simd::Pack<T>* values, Index c) const {
    transform_pack<Transform>(
        c, [&](int i, int j, const simd::Pack<T>& v) { values[i * inputs + j] = v; });
  }
};

/// Writes the planes of tiles [first, first + count) from maps of C channels; a row is a tile, or
/// two of them if pairs are of tiles. A missing second value is zero.
template <class Transform, PairOf Paired = PairOf::channels, class U>
void fill_planes(const Sum<U>* x, const MapExtent& map, Index C, const Padding& padding,
                 const Tiling& tiling, Index first, Index count, const Planes<U>& planes) {
  using T = Sum<U>;
  using P = simd::Pack<T>;
  constexpr Index width = simd::width<T>, terms = terms_of_unit<U>, together = 4;
  constexpr Index row_tiles = Paired == PairOf::tiles ? terms : 1, row_terms = terms / row_tiles;
  Scratch<T> zeros(C);
  std::fill_n(zeros.data(), C, T(0));
  parallel_for((count + together - 1) / together, [&](Index task) {
    const Index end = std::min((task + 1) * together, count);
    PixelWalk at = tiling.at(first + task * together);
    for (Index tile = task * together; tile < end; tile += row_tiles) {
      const auto patch = [&] {
        const Patch<T, Transform::from> here(x, map, C, padding, at, zeros.data());
        at.next();
        return here;
      };
      const auto one = patch();
      const bool paired = tile + row_tiles <= end;
      const auto two = row_tiles == 2 && paired ? patch() : one;
      U* target = planes.at(0, tile / row_tiles);
      Index pack = 0;
      for (Index c = 0; c < C; c += row_terms * width, ++pack, target += planes.pack) {
        if constexpr (terms == 1) {
          one.template transform_pack<Transform>(c, [&](int i, int j, const P& v) {
            simd::store(target + (i * inputs + j) * planes.plane, v);
          });
        } else {
          P first_values[products], second_values[products];
          one.template transform_pack_to<Transform>(first_values, c);
          const Index other = row_tiles == 2 ? c : c + width;
          if (paired && other < C)
            two.template transform_pack_to<Transform>(second_values, other);
          else
            std::fill_n(second_values, products, P(T(0)));
          for (int i = 0; i < products; ++i)
            simd::store(target + i * planes.plane,
                        Paired == PairOf::tiles
                            ? simd::pair(first_values[i], second_values[i])
                            : simd::neighbour_pairs(first_values[i], second_values[i]));
        }
      }
      for (; pack < planes.row_packs; ++pack, target += planes.pack)
        for (int i = 0; i < products; ++i)
          simd::store(target + i * planes.plane, simd::broadcast(U{}));
    }
  });
}

/// Tiles of one block: as many as the shared cache holds, for `columns` units of a tile in all.
template <class U, class S>
Index tiles_of_block(Index tiles, Index columns) {
  const Index bytes = products * columns * Index{sizeof(U)};
  const Index fit = std::max(S::block_bytes / bytes / S::task_tiles, Index{1}) * S::task_tiles;
  const Index blocks = (tiles + fit - 1) / fit;
  const Index each = (tiles + blocks - 1) / std::max(blocks, Index{1});
  return (each + tile_rows - 1) / tile_rows * tile_rows;
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
