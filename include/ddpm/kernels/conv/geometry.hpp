// The geometry of a convolution: padding, stride, and the maps that its kernel runs over.
//
// Letters: N images; large map H x W (the input of a convolution, the output of a transposed one),
// small map OH x OW; kernel KH x KW.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

/// Zero padding in pixels; each side at least 0.
struct Padding {
  Index top = 0, bottom = 0, left = 0, right = 0;

  static Padding same(Index pixels) { return {pixels, pixels, pixels, pixels}; }
  /// The paper's down-sampling: one row below, one column to the right.
  static Padding right_and_bottom() { return {0, 1, 0, 1}; }
  friend bool operator==(const Padding&, const Padding&) = default;
};

/// Stride (both axes, at least 1) and zero padding of a convolution. With a height and a width, the
/// input is first enlarged to that many pixels by nearest neighbour, without a copy.
struct ConvGeometry {
  Index stride = 1;
  Padding padding;
  Index height = 0, width = 0;  ///< both at least the input's; both 0: the input's own

  bool enlarges() const { return height != 0 || width != 0; }
};

namespace kernels {

inline constexpr Index max_conv_taps = 64;  ///< KH KW

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
  /// True if each pixel sees only itself: then a convolution is a matrix product.
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

inline Index conv_extent(Index extent, Index pad, Index kernel, Index stride) {
  return extent + pad < kernel ? 0 : (extent + pad - kernel) / stride + 1;
}

/// The size of the map that the kernel runs over.
inline MapExtent conv_input(const Shape& x, const ConvGeometry& geometry) {
  if (!geometry.enlarges()) return {x[1], x[2]};
  return {geometry.height, geometry.width, x[1], x[2]};
}

/// The window of conv2d for x (N, H, W, C_in) and w (KH, KW, C_in, C_out).
inline Window conv_window(const Shape& x, const Shape& w, const ConvGeometry& geometry) {
  const Padding& pad = geometry.padding;
  const MapExtent map = conv_input(x, geometry);
  return {x[0],
          map.H,
          map.W,
          conv_extent(map.H, pad.top + pad.bottom, w[0], geometry.stride),
          conv_extent(map.W, pad.left + pad.right, w[1], geometry.stride),
          w[0],
          w[1],
          geometry.stride,
          pad,
          map.in_H,
          map.in_W};
}

/// The window of a data gradient of stride 1: from dy's map back to x's.
inline Window turned(const Window& g) {
  const Padding& pad = g.padding;
  return {g.N,
          g.OH,
          g.OW,
          g.H,
          g.W,
          g.KH,
          g.KW,
          1,
          {g.KH - 1 - pad.top, g.KH - 1 - pad.bottom, g.KW - 1 - pad.left, g.KW - 1 - pad.right}};
}

/// True if turned() holds.
inline bool can_turn(const Window& g) {
  const Padding& pad = g.padding;
  return g.stride == 1 && std::max(pad.top, pad.bottom) < g.KH &&
         std::max(pad.left, pad.right) < g.KW;
}

}  // namespace kernels

}  // namespace ddpm::DDPM_ABI
