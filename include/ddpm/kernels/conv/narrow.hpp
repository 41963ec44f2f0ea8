// Convolutions with few channels on one side, as a network's first and last layers have: there a
// panel's packs would stay mostly empty.
//
//   few inputs    y = U(x) w            U(x): for each pixel of y the taps x C_in values it sees
//   few outputs   y_p = <what p sees, w>, a dot product for each channel
//
// Data gradients of stride 1 are the same two of dy, with the kernel turned; weight gradients are
// products of U with the side of many channels.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/direct.hpp"
#include "ddpm/kernels/product/product.hpp"
#include "ddpm/kernels/upsample.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// w (taps, C_in, C_out) turned by 180 degrees, its channels exchanged: (taps, C_out, C_in).
template <class T>
void turn_weights(const T* w, Index taps, Index C_in, Index C_out, T* out) {
  for (Index tap = 0; tap < taps; ++tap)
    for (Index ci = 0; ci < C_in; ++ci)
      for (Index co = 0; co < C_out; ++co)
        out[((taps - 1 - tap) * C_out + co) * C_in + ci] = w[(tap * C_in + ci) * C_out + co];
}

/// Writes U(x), (N OH OW, taps C), from x (N, H, W, C). A row of the kernel sees values that lie
/// side by side, unless the map is enlarged.
template <class T>
void unfold(const Window& g, const T* x, Index C, T* out) {
  const MapExtent map = g.input();
  const Index seen = g.KW * C;
  parallel_for(g.N * g.OH, [&](Index task) {
    const Index n = task / g.OH, top = task % g.OH * g.stride - g.padding.top;
    T* to = out + task * g.OW * g.KH * seen;
    for (Index ow = 0; ow < g.OW; ++ow) {
      const Index left = ow * g.stride - g.padding.left;
      const bool inside = left >= 0 && left + g.KW <= g.W && !map.enlarged();
      for (Index h = top; h < top + g.KH; ++h, to += seen) {
        if (!map.has_row(h)) {
          std::fill_n(to, seen, T(0));
        } else if (inside) {
          simd::map([](auto value) { return value; }, seen, to,
                    x + ((n * g.H + h) * g.W + left) * C);
        } else {
          for (Index i = 0; i < seen; ++i) {
            const Index w = left + i / C;
            to[i] = map.has_column(w) ? x[map.stored_pixel(n, h, w) * C + i % C] : T(0);
          }
        }
      }
    }
  });
}

/// Weights (taps, C_in, C_out) as rows of whole packs for dot products: (C_out, taps, C_in rounded
/// up).
template <class T>
class DotWeights {
 public:
  DotWeights(const T* w, Index taps, Index C_in, Index C_out)
      : terms_((C_in + simd::width<T> - 1) / simd::width<T> * simd::width<T>),
        taps_(taps),
        rows_(C_out * taps * terms_) {
    std::fill_n(rows_.data(), C_out * taps * terms_, T(0));
    for (Index tap = 0; tap < taps; ++tap)
      for (Index ci = 0; ci < C_in; ++ci)
        for (Index co = 0; co < C_out; ++co)
          rows_[(co * taps + tap) * terms_ + ci] = w[(tap * C_in + ci) * C_out + co];
  }
  const T* row(Index co) const { return rows_.data() + co * taps_ * terms_; }

 private:
  Index terms_, taps_;
  Scratch<T> rows_;
};

/// dots[r] = sum over taps and c < terms of rows[tap][r][c] * b[tap][c]; pointers of a tap's rows
/// are row_block apart, rows of b whole packs.
template <class T>
void dot_rows(const T* const* rows, Index taps, Index terms, const T* b, T* dots) {
  constexpr Index width = simd::width<T>;
  simd::Pack<T> sum[tile_rows];
  for (auto& s : sum) s = simd::Pack<T>(T(0));
  for (Index tap = 0; tap < taps; ++tap, rows += row_block) {
    const T* row[tile_rows];
    std::copy_n(rows, tile_rows, row);
    Index c = 0;
    for (; c + width <= terms; c += width, b += width) {
      const simd::Pack<T> factor = simd::load(b);
#pragma GCC unroll 8
      for (int r = 0; r < tile_rows; ++r)
        sum[r] = simd::fma(simd::load(row[r] + c), factor, sum[r]);
    }
    if (c == terms) continue;
    const simd::Pack<T> factor = simd::load(b);
    b += width;
#pragma GCC unroll 8
    for (int r = 0; r < tile_rows; ++r)
      sum[r] = simd::fma(simd::load_partial(row[r] + c, terms - c), factor, sum[r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < tile_rows; ++r) dots[r] = simd::reduce_add(sum[r]);
}

/// y (N, OH, OW, C_out) = conv(x) for few C_out; x (N, H, W, C_in), w (taps, C_in, C_out).
template <class T>
void few_outputs_forward(const Window& g, View<const T> x, const T* w, Index C_out,
                         const Epilogue<T>& epilogue) {
  const Index pixels = g.N * g.OH * g.OW, C_in = x.shape.back(), taps = g.taps();
  const DotWeights<T> weights(w, taps, C_in, C_out);
  Scratch<T> zeros(C_in);
  std::fill_n(zeros.data(), C_in, T(0));
  parallel_for((pixels + row_block - 1) / row_block, [&](Index task) {
    const Index first = task * row_block, count = std::min(row_block, pixels - first);
    Scratch<const T*> source(taps * row_block);
    std::fill_n(source.data(), taps * row_block, zeros.data());
    locate_forward(g, x.data, C_in, zeros.data(), first, count, source.data(), row_block);
    for (Index r = 0; r < count; r += tile_rows)
      for (Index co = 0; co < C_out; ++co) {
        T dots[tile_rows];
        dot_rows(source.data() + r, taps, C_in, weights.row(co), dots);
        for (Index i = 0; i < std::min<Index>(tile_rows, count - r); ++i) {
          const Index pixel = first + r + i, at = pixel * C_out + co;
          const T* bias = epilogue.bias_of(pixel / (g.OH * g.OW));
          write_sum(dots[i], bias ? bias + co : nullptr, epilogue.residual_at(at), epilogue.y + at);
        }
      }
  });
}

/// The same for few C_in: U(x), and a product with w.
template <class U, class T = Sum<U>>
void few_inputs_forward(const Window& g, View<const T> x, const T* w, Index C_out,
                        const Epilogue<T>& epilogue) {
  const Index seen = g.taps() * x.shape.back();
  Scratch<T> unfolded(g.N * g.OH * g.OW * seen);
  unfold<T>(g, x.data, x.shape.back(), unfolded.data());
  const Window pointwise{g.N, g.OH, g.OW, g.OH, g.OW, 1, 1, 1, {}};
  direct_forward<U>(pointwise, {unfolded.data(), {g.N, g.OH, g.OW, seen}}, w, false, C_out,
                    epilogue);
}

/// dx (N, H, W, C_in) of a convolution with few channels on a side, for can_turn() windows: the
/// forward pass of dy, with the kernel turned; in units U unless few_in. w (taps, C_in, C_out).
template <class U, class T = Sum<U>>
void narrow_data_gradient(const Window& g, View<const T> dy, const T* w, Index C_in, bool few_in,
                          T* dx) {
  const Index C_out = dy.shape.back();
  Scratch<T> turned_w(g.taps() * C_in * C_out);
  turn_weights(w, g.taps(), C_in, C_out, turned_w.data());
  const auto run = few_in ? few_outputs_forward<T> : few_inputs_forward<U>;
  run(turned(g), dy, turned_w.data(), C_in, {{}, nullptr, dx});
}

/// dw (taps, C_in, C_out) = U(x)^T dy, for few C_in.
template <class U, class T = Sum<U>>
void few_inputs_weight_gradient(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  const Index pixels = g.N * g.OH * g.OW, seen = g.taps() * x.shape.back();
  Scratch<T> unfolded(pixels * seen);
  unfold<T>(g, x.data, x.shape.back(), unfolded.data());
  transposed_multiply<U>({unfolded.data(), pixels, seen, seen}, as_matrix(dy), dw);
}

/// The same for few C_out and can_turn() windows: x and dy change places.
template <class U, class T = Sum<U>>
void few_outputs_weight_gradient(const Window& g, View<const T> x, View<const T> dy, T* dw) {
  const Index C_in = x.shape.back(), C_out = dy.shape.back();
  const Shape seen{g.N, g.H, g.W, C_in};
  const bool enlarged = g.input().enlarged();
  Scratch<T> turned_dw(g.taps() * C_in * C_out), large(enlarged ? seen.size() : 0);
  if (enlarged) upsample_nearest_forward<T>(x, {large.data(), seen});
  few_inputs_weight_gradient<U>(turned(g), dy, {enlarged ? large.data() : x.data, seen},
                                turned_dw.data());
  turn_weights(turned_dw.data(), g.taps(), C_out, C_in, dw);
}

}  // namespace ddpm::DDPM_ABI::kernels
