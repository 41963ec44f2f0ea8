// Where a convolution's taps fall: geometry, and the row pointers that gather.hpp asks for.
//
//   forward:  output (oh, ow) sees input (oh s + kh - top, ow s + kw - left)
//   backward: input (ih, iw) is seen by output ((ih + top - kh) / s, (iw + left - kw) / s) where
//             that divides; the inputs of one remainder (phase) share their taps
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/gather.hpp"

namespace ddpm::DDPM_ABI {

/// Zero padding in pixels; each side at least 0.
struct Padding {
  Index top = 0, bottom = 0, left = 0, right = 0;

  static Padding same(Index pixels) { return {pixels, pixels, pixels, pixels}; }
  /// The paper's down-sampling: one row below, one column to the right.
  static Padding right_and_bottom() { return {0, 1, 0, 1}; }
  friend bool operator==(const Padding&, const Padding&) = default;
};

namespace kernels {

/// A map of H x W pixels, stored whole or as a smaller one of which it is the nearest-neighbour
/// enlargement: pixel (h, w) is the stored one at (h in_H / H, w in_W / W), rounded down.
struct MapExtent {
  Index H, W, in_H = H, in_W = W;

  bool enlarged() const { return in_H != H || in_W != W; }
  bool has_row(Index h) const { return h >= 0 && h < H; }
  bool has_column(Index w) const { return w >= 0 && w < W; }
  Index stored_row(Index h) const { return in_H == H ? h : h * in_H / H; }
  Index stored_column(Index w) const { return in_W == W ? w : w * in_W / W; }
  /// Where pixel (h, w) of image n is stored.
  Index stored_pixel(Index n, Index h, Index w) const {
    return (n * in_H + stored_row(h)) * in_W + stored_column(w);
  }
};

/// Extents of one convolution: images N, large map H x W, small map OH x OW (the output of a
/// convolution, the input of a transposed one), kernel KH x KW. A convolution's large map may be
/// the enlargement of the stored one, see MapExtent.
struct Window {
  Index N, H, W, OH, OW, KH, KW, stride;
  Padding padding;
  Index in_H = H, in_W = W;

  Index taps() const { return KH * KW; }
  /// True if each pixel sees itself alone: then a convolution is a matrix product.
  bool pointwise() const {
    return taps() == 1 && stride == 1 && padding == Padding{} && !input().enlarged();
  }
  MapExtent input() const { return {H, W, in_H, in_W}; }
};

/// Steps through pixels (n, h, w) in row-major order.
struct PixelWalk {
  Index n, h, w, height, width;

  PixelWalk(Index pixel, Index map_height, Index map_width)
      : n(pixel / (map_height * map_width)),
        h(pixel / map_width % map_height),
        w(pixel % map_width),
        height(map_height),
        width(map_width) {}

  void next() {
    if (++w < width) return;
    w = 0;
    if (++h < height) return;
    h = 0;
    ++n;
  }
};

/// bias is (C_out), or (N, C_out): one row an image.
template <class T>
const T* bias_of_image(View<const T> bias, Index n) {
  return bias.data + (bias.shape.rank() == 2 ? n * bias.dim(1) : 0);
}

/// Pointers of small-map pixels [first, first + count) into the large map `x` of C channels, tap by
/// tap, `tap_stride` apart; `zeros` (C) stands for the padding.
template <class T>
void locate_forward(const Window& g, const T* x, Index C, const T* zeros, Index first, Index count,
                    const T** source, Index tap_stride) {
  const MapExtent map = g.input();
  if (g.pointwise()) {
    for (Index r = 0; r < count; ++r) source[r] = x + (first + r) * C;
  } else if (map.enlarged()) {
    PixelWalk at(first, g.OH, g.OW);
    for (Index r = 0; r < count; ++r, at.next()) {
      const T** tap = source + r;
      const Index top = at.h * g.stride - g.padding.top, left = at.w * g.stride - g.padding.left;
      for (Index h = top; h < top + g.KH; ++h)
        for (Index w = left; w < left + g.KW; ++w, tap += tap_stride)
          *tap = map.has_row(h) && map.has_column(w) ? x + map.stored_pixel(at.n, h, w) * C : zeros;
    }
  } else {
    for (Index done = 0; done < count; done += row_block) {
      Index top[row_block], left[row_block], corner[row_block];
      PixelWalk at(first + done, g.OH, g.OW);
      const Index rows = std::min(row_block, count - done);
      for (Index r = 0; r < rows; ++r, at.next()) {
        top[r] = at.h * g.stride - g.padding.top;
        left[r] = at.w * g.stride - g.padding.left;
        corner[r] = ((at.n * g.H + top[r]) * g.W + left[r]) * C;
      }
      const T** tap = source + done;
      for (Index kh = 0; kh < g.KH; ++kh)
        for (Index kw = 0; kw < g.KW; ++kw, tap += tap_stride) {
          const Index step = (kh * g.W + kw) * C;
          for (Index r = 0; r < rows; ++r) {
            const bool inside = map.has_row(top[r] + kh) && map.has_column(left[r] + kw);
            tap[r] = inside ? x + corner[r] + step : zeros;
          }
        }
    }
  }
}

/// The large-map pixels with (h + top) % stride == row and (w + left) % stride == column. Its pixel
/// (h, w) is seen through a tap by pixel (h + down, w + right) of the small map.
struct Phase {
  Index first_h, first_w, height, width;  ///< height x width pixels, `stride` apart
  Index taps = 0;
  static constexpr Index max_taps = 64;
  Index tap_ids[max_taps], down[max_taps], right[max_taps];

  Phase(const Window& g, Index row, Index column)
      : first_h(first(row, g.padding.top, g.stride)),
        first_w(first(column, g.padding.left, g.stride)),
        height(g.H > first_h ? (g.H - first_h + g.stride - 1) / g.stride : 0),
        width(g.W > first_w ? (g.W - first_w + g.stride - 1) / g.stride : 0) {
    for (Index kh = row; kh < g.KH; kh += g.stride)
      for (Index kw = column; kw < g.KW; kw += g.stride) {
        down[taps] = (first_h + g.padding.top - kh) / g.stride;
        right[taps] = (first_w + g.padding.left - kw) / g.stride;
        tap_ids[taps++] = kh * g.KW + kw;
      }
  }

 private:
  static Index first(Index remainder, Index pad, Index stride) {
    return ((remainder - pad) % stride + stride) % stride;
  }
};

/// Pointers of a phase's pixels [first, first + count) into the small map `y` of C channels, and of
/// the large-map pixels of `out` (channels `out_channels`) they make up.
template <class T>
void locate_backward(const Window& g, const Phase& phase, const T* y, Index C, const T* zeros,
                     T* out, Index out_channels, Index first, Index count,
                     const RowPointers<T>& pointers) {
  PixelWalk at(first, phase.height, phase.width);
  for (Index r = 0; r < count; ++r, at.next()) {
    const Index h = phase.first_h + at.h * g.stride, w = phase.first_w + at.w * g.stride;
    pointers.out[r] = out + ((at.n * g.H + h) * g.W + w) * out_channels;
    for (Index tap = 0; tap < phase.taps; ++tap) {
      const Index row = at.h + phase.down[tap], column = at.w + phase.right[tap];
      const bool inside = row >= 0 && row < g.OH && column >= 0 && column < g.OW;
      pointers.source[tap * row_block + r] =
          inside ? y + ((at.n * g.OH + row) * g.OW + column) * C : zeros;
    }
  }
}

}  // namespace kernels

}  // namespace ddpm::DDPM_ABI
