// Convolution in two dimensions (cross-correlation, as in every deep-learning library).
//
//   y[n, oh, ow, co] = bias[co] + sum_{kh, kw, ci} x[n, oh s + kh - top, ow s + kw - left, ci]
//                                                  w[kh, kw, ci, co]
//
// Letters: N images, H x W in, OH x OW out, C_in, C_out, kernel KH x KW, stride s. NHWC; weights
// (KH, KW, C_in, C_out). Direct and register-blocked: see tile.hpp and gather.hpp. The data
// gradient is the same product over the phases of the stride, the weight gradient an outer product
// over pixels. Large 3x3 layers of stride 1 go through winograd.hpp (conv_algorithm.hpp has the
// rule), layers of few channels through narrow_conv.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/conv_algorithm.hpp"
#include "ddpm/kernels/narrow_conv.hpp"
#include "ddpm/kernels/upsample.hpp"
#include "ddpm/kernels/winograd.hpp"
#include "ddpm/kernels/winograd_weights.hpp"

namespace ddpm::DDPM_ABI {

/// Stride (both axes, at least 1) and zero padding of a convolution. With a height and a width, the
/// input is first enlarged to that many pixels by nearest neighbour, without a copy.
struct ConvGeometry {
  Index stride = 1;
  Padding padding;
  Index height = 0, width = 0;  ///< at least the input's; 0: the input's own

  bool enlarges() const { return height != 0 || width != 0; }
};

namespace kernels {

namespace detail {

inline Index conv_extent(Index extent, Index pad, Index kernel, Index stride) {
  return extent + pad < kernel ? 0 : (extent + pad - kernel) / stride + 1;
}

template <class T>
void check_bias(const char* what, View<const T> bias, Index N, Index C) {
  require(bias.empty() || bias.shape == Shape{C} || bias.shape == Shape{N, C}, what, ": bias is ",
          bias.shape, ", expected ", Shape{C}, " or ", Shape{N, C});
}

/// y = conv(x) over the window's small map: packs w and gathers.
template <class T>
void gather_forward(const Window& g, View<const T> x, const T* w, bool transposed, Index C_out,
                    View<const T> bias, const T* residual, T* y) {
  const Index C_in = x.shape.back();
  with_panel_width<T>(C_out, [&]<int Packs>() {
    Scratch<T> packed(packed_size<T, Packs>(g.taps() * C_in, C_out)), zeros(C_in);
    std::fill_n(zeros.data(), C_in, T(0));
    pack_panels<T, Packs>(w, g.taps(), C_in, C_out, transposed ? C_in : C_out, transposed,
                          packed.data());
    const GatherRows<T> job{g.N * g.OH * g.OW, g.taps(), C_in,          C_out,    packed.data(),
                            g.taps(),          nullptr,  !bias.empty(), residual, y};
    const auto locate = [&](Index first, Index count, const RowPointers<T>& pointers) {
      locate_forward(g, x.data, C_in, zeros.data(), first, count, pointers.source, row_block);
      PixelWalk at(first, g.OH, g.OW);
      for (Index r = 0; r < count; ++r, at.next()) {
        pointers.out[r] = y + (first + r) * C_out;
        if (!bias.empty()) pointers.bias[r] = bias_of_image(bias, at.n);
      }
    };
    gather_rows<T, Packs>(job, locate);
  });
}

/// large = conv^T(small): the data gradient of a convolution, the forward pass of a transposed one.
template <class T>
void gather_backward(const Window& g, View<const T> small, const T* w, bool transposed,
                     Index C_large, View<const T> bias, T* large) {
  const Index C = small.shape.back();
  with_panel_width<T>(C_large, [&]<int Packs>() {
    Scratch<T> packed(packed_size<T, Packs>(g.taps() * C, C_large)), zeros(C);
    std::fill_n(zeros.data(), C, T(0));
    pack_panels<T, Packs>(w, g.taps(), C, C_large, transposed ? C : C_large, transposed,
                          packed.data());
    for (Index phase_id = 0; phase_id < g.stride * g.stride; ++phase_id) {
      const Phase phase(g, phase_id / g.stride, phase_id % g.stride);
      const GatherRows<T> job{g.N * phase.height * phase.width,
                              phase.taps,
                              C,
                              C_large,
                              packed.data(),
                              g.taps(),
                              phase.tap_ids,
                              !bias.empty()};
      const auto locate = [&](Index first, Index count, const RowPointers<T>& pointers) {
        locate_backward(g, phase, small.data, C, zeros.data(), large, C_large, first, count,
                        pointers);
        if (!bias.empty()) std::fill_n(pointers.bias, count, bias.data);
      };
      gather_rows<T, Packs>(job, locate);
    }
  });
}

/// d[tap] (C_large, C_small) = sum over small-map pixels of large(tap, p)^T small_p.
template <class T>
void gather_weights(const Window& g, View<const T> large, View<const T> small, T* d) {
  const Index C = large.shape.back();
  with_panel_width<T>(small.shape.back(), [&]<int Packs>() {
    Scratch<T> zeros(C);
    std::fill_n(zeros.data(), C, T(0));
    const auto locate = [&](Index first, Index count, const T** source) {
      locate_forward(g, large.data, C, zeros.data(), first, count, source, outer_chunk);
    };
    const GatherOuter<T> job{g.N * g.OH * g.OW, g.taps(), C, as_matrix(small)};
    gather_outer<T, Packs>(job, d, locate);
  });
}

template <class T>
void winograd_forward(const Window& g, View<const T> x, View<const T> w, View<const T> bias,
                      const T* residual, T* y) {
  const Index C_in = w.dim(2), C_out = w.dim(3);
  const auto filters = winograd::Filters<T>::plain(w.data, C_in, C_out);
  winograd::convolve<T>(g, x, filters, C_out, {bias, residual, y});
}

/// dx is a convolution too: of dy, with the kernel turned and its channels exchanged.
template <class T>
void winograd_data_gradient(const Window& g, View<const T> dy, View<const T> w, T* dx) {
  constexpr int packs = winograd::packs;
  const Index C_in = w.dim(2), C_out = w.dim(3);
  Scratch<T> packed(packed_size<T, packs>(g.taps() * C_out, C_in));
  pack_panels<T, packs>(w.data, g.taps(), C_out, C_in, C_out, true, packed.data());
  const auto filters = winograd::Filters<T>::packed(packed.data(), C_out, C_in);
  winograd::convolve<T>(turned(g), dy, filters, C_in, {{}, nullptr, dx});
}

/// conv(x) for few channels of x, or dx for few of dy: U(x), and a product with w (taps C_in,
/// C_out).
template <class T>
void unfolded_forward(const Window& g, View<const T> x, const T* w, Index C_out, View<const T> bias,
                      const T* residual, T* y) {
  const Index seen = g.taps() * x.shape.back();
  Scratch<T> unfolded(g.N * g.OH * g.OW * seen);
  unfold<T>(g, x.data, x.shape.back(), unfolded.data());
  const Window pointwise{g.N, g.OH, g.OW, g.OH, g.OW, 1, 1, 1, {}};
  gather_forward<T>(pointwise, {unfolded.data(), {g.N, g.OH, g.OW, seen}}, w, false, C_out, bias,
                    residual, y);
}

/// dw (taps, C_in, C_out) = U(x)^T dy, for few channels of x.
template <class T>
void unfolded_weights(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  const Index pixels = g.N * g.OH * g.OW, seen = g.taps() * x.shape.back();
  Scratch<T> unfolded(pixels * seen);
  unfold<T>(g, x.data, x.shape.back(), unfolded.data());
  transposed_multiply<T>({unfolded.data(), pixels, seen, seen}, as_matrix(dy), dw);
}

/// The size of the map that the kernel runs over.
inline MapExtent conv_input(const Shape& x, const ConvGeometry& geometry) {
  if (!geometry.enlarges()) return {x[1], x[2]};
  return {geometry.height, geometry.width, x[1], x[2]};
}

template <class T>
Window conv_window(View<const T> x, View<const T> w, const ConvGeometry& geometry) {
  const Padding& pad = geometry.padding;
  const MapExtent map = conv_input(x.shape, geometry);
  return {x.dim(0),
          map.H,
          map.W,
          conv_extent(map.H, pad.top + pad.bottom, w.dim(0), geometry.stride),
          conv_extent(map.W, pad.left + pad.right, w.dim(1), geometry.stride),
          w.dim(0),
          w.dim(1),
          geometry.stride,
          pad,
          map.in_H,
          map.in_W};
}

/// dx of the map as the kernel sees it, (N, H, W, C_in).
template <class T>
void data_gradient(const Window& g, View<const T> dy, View<const T> w, T* dx) {
  const Index C_in = w.dim(2), C_out = w.dim(3);
  if (winograd_pays(g, C_in, C_out)) {
    winograd_data_gradient<T>(g, dy, w, dx);
  } else if (can_turn(g) && (few_channels(g, C_out) || few_channels(g, C_in))) {
    Scratch<T> weights(w.size());
    turn_weights(w.data, g.taps(), C_in, C_out, weights.data());
    const auto run = few_channels(g, C_in) ? narrow_output<T> : unfolded_forward<T>;
    run(turned(g), dy, weights.data(), C_in, {}, nullptr, dx);
  } else {
    gather_backward<T>(g, dy, w.data, true, C_in, View<const T>(), dx);
  }
}

template <class T>
void weight_gradient(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  const Index C_in = x.shape.back(), C_out = dy.shape.back();
  if (winograd_pays(g, C_in, C_out)) {
    winograd::weight_gradient<T>(g, x, dy, dw);
  } else if (few_channels(g, C_in)) {
    unfolded_weights<T>(g, x, dy, dw);
  } else if (few_channels(g, C_out) && can_turn(g)) {
    const Shape seen{g.N, g.H, g.W, C_in};
    Scratch<T> turned_dw(g.taps() * C_in * C_out), enlarged(g.input().enlarged() ? seen.size() : 0);
    if (g.input().enlarged()) upsample_nearest_forward<T>(x, {enlarged.data(), seen});
    unfolded_weights<T>(turned(g), dy, {g.input().enlarged() ? enlarged.data() : x.data, seen},
                        turned_dw.data());
    turn_weights(turned_dw.data(), g.taps(), C_out, C_in, dw);
  } else {
    gather_weights<T>(g, x, dy, dw);
  }
}

inline void check_geometry(const char* what, const Shape& x, const Shape& w,
                           const ConvGeometry& geometry) {
  const Padding& pad = geometry.padding;
  require(x.rank() == 4, what, ": x is ", x, ", expected (N, H, W, C)");
  require(w.rank() == 4 && w[2] == x[3], what, ": w is ", w, ", expected (KH, KW, ", x[3],
          ", C_out)");
  require(w[0] >= 1 && w[1] >= 1 && w[0] * w[1] <= Phase::max_taps, what, ": kernel ", w[0], " x ",
          w[1], ", expected 1 to ", Phase::max_taps, " taps");
  require(x[3] >= 1 && w[3] >= 1, what, ": w is ", w, ", expected at least one channel each way");
  require(geometry.stride >= 1, what, ": stride is ", geometry.stride, ", expected at least 1");
  require(pad.top >= 0 && pad.bottom >= 0 && pad.left >= 0 && pad.right >= 0, what,
          ": padding must not be negative");
  require(!geometry.enlarges() ||
              (x[1] > 0 && x[2] > 0 && geometry.height >= x[1] && geometry.width >= x[2]),
          what, ": x ", x, " cannot be enlarged to ", geometry.height, " x ", geometry.width);
}

}  // namespace detail

/// Shape of conv2d's result. Throws PreconditionError if shapes disagree or the padded image is
/// smaller than the kernel.
inline Shape conv2d_shape(const Shape& x, const Shape& w, const ConvGeometry& geometry) {
  detail::check_geometry("conv2d", x, w, geometry);
  const Padding& pad = geometry.padding;
  const MapExtent map = detail::conv_input(x, geometry);
  const Index OH = detail::conv_extent(map.H, pad.top + pad.bottom, w[0], geometry.stride);
  const Index OW = detail::conv_extent(map.W, pad.left + pad.right, w[1], geometry.stride);
  require(OH > 0 && OW > 0, "conv2d: the padded image of x ", x, " is smaller than the kernel ",
          w[0], " x ", w[1]);
  return {x[0], OH, OW, w[3]};
}

/// Writes y = conv(x) + bias + residual.
///   x (N, H, W, C_in), w (KH, KW, C_in, C_out), y as conv2d_shape() says
///   bias      (C_out), or (N, C_out) with a row for each image, or empty
///   residual  shaped as y, or empty; y may alias it, but not x
/// Throws PreconditionError if shapes disagree.
template <class T>
void conv2d_forward(View<const T> x, View<const T> w, View<const T> bias, View<const T> residual,
                    const ConvGeometry& geometry, View<T> y) {
  require_shape("conv2d: y", y.shape, conv2d_shape(x.shape, w.shape, geometry));
  detail::check_bias("conv2d", bias, x.dim(0), w.dim(3));
  if (!residual.empty()) require_shape("conv2d: residual", residual.shape, y.shape);
  const Window window = detail::conv_window(x, w, geometry);
  const Index C_in = w.dim(2), C_out = w.dim(3);
  if (winograd_pays(window, C_in, C_out))
    detail::winograd_forward<T>(window, x, w, bias, residual.data, y.data);
  else if (few_channels(window, C_out))
    narrow_output<T>(window, x, w.data, C_out, bias, residual.data, y.data);
  else if (few_channels(window, C_in))
    detail::unfolded_forward<T>(window, x, w.data, C_out, bias, residual.data, y.data);
  else
    detail::gather_forward<T>(window, x, w.data, false, C_out, bias, residual.data, y.data);
}

/// With L = <dy, y>, writes dx, dw and dbias, each shaped as its original; an empty view is not
/// needed. (The residual's gradient is dy.)
template <class T>
void conv2d_backward(View<const T> dy, View<const T> x, View<const T> w,
                     const ConvGeometry& geometry, View<T> dx, View<T> dw, View<T> dbias) {
  const Window window = detail::conv_window(x, w, geometry);
  if (!dx.empty() && !geometry.enlarges()) detail::data_gradient<T>(window, dy, w, dx.data);
  if (!dx.empty() && geometry.enlarges()) {
    Scratch<T> enlarged(window.N * window.H * window.W * x.dim(3));
    detail::data_gradient<T>(window, dy, w, enlarged.data());
    const Shape shape{window.N, window.H, window.W, x.dim(3)};
    upsample_nearest_backward<T>({enlarged.data(), shape}, dx);
  }
  if (!dw.empty()) detail::weight_gradient<T>(window, x, dy, dw.data);
  if (!dbias.empty()) column_sums<T>(dy, dbias);
}

}  // namespace kernels

}  // namespace ddpm::DDPM_ABI
