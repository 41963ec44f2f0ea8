// The direct convolution: a product whose rows are found through pointers into the map, so that
// there is no im2col (Dukhan 2019, arXiv:1907.02129).
//
//   forward:  output (oh, ow) sees input (oh s + kh - top, ow s + kw - left)
//   adjoint:  input (ih, iw) is seen by output ((ih + top - kh) / s, (iw + left - kw) / s) where
//             that divides; the inputs of one remainder (phase) share their taps
//   weights:  an outer product over the pixels of the small map
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>

#include "ddpm/kernels/conv/geometry.hpp"
#include "ddpm/kernels/product/gather_outer.hpp"
#include "ddpm/kernels/product/gather_rows.hpp"

namespace ddpm::DDPM_ABI::kernels {

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
  static constexpr Index max_taps = max_conv_taps;
  Index tap_ids[max_taps], down[max_taps], right[max_taps];

  Phase(const Window& g, Index row, Index column)
      : first_h(first(row, g.padding.top, g.stride)),
        first_w(first(column, g.padding.left, g.stride)),
        height(g.H > first_h ? (g.H - first_h + g.stride - 1) / g.stride : 0),
        width(g.W > first_w ? (g.W - first_w + g.stride - 1) / g.stride : 0) {
    for (Index kh = row; kh < g.KH; kh += g.stride)
      for (Index kw = column; kw < g.KW; kw += g.stride) {
        assert(taps < max_taps);
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
template <class U>
void locate_backward(const Window& g, const Phase& phase, const U* y, Index C, const U* zeros,
                     Sum<U>* out, Index out_channels, Index first, Index count,
                     const RowPointers<U>& pointers) {
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

/// y (N, OH, OW, C_out) = conv(x) for x (N, H, W, C_in) and w (taps, C_in, C_out), or
/// (taps, C_out, C_in) if `transposed`; in units U.
template <class U, class T = Sum<U>>
void direct_forward(const Window& g, View<const T> x, const T* w, bool transposed, Index C_out,
                    const Epilogue<T>& epilogue) {
  const Index C_in = x.shape.back();
  const UnitRows<U> rows(as_matrix(x));
  const Matrix<const U> map = rows.matrix();
  const Scratch<U> zeros(map.columns, U{});
  const bool has_bias = !epilogue.bias.empty();
  const auto locate = [&](Index first, Index count, const RowPointers<U>& pointers) {
    locate_forward(g, map.data, map.columns, zeros.data(), first, count, pointers.source,
                   row_block);
    PixelWalk at(first, g.OH, g.OW);
    for (Index r = 0; r < count; ++r, at.next()) {
      pointers.out[r] = epilogue.y + (first + r) * C_out;
      if (has_bias) pointers.bias[r] = epilogue.bias_of(at.n);
    }
  };
  with_panel_width<U>(C_out, [&]<int Packs>() {
    Scratch<U> packed(g.taps() * packed_size<U, Packs>(C_in, C_out));
    pack_panels<U, Packs>(w, g.taps(), C_in, C_out, transposed ? C_in : C_out, transposed,
                          packed.data());
    const GatherRows<U> job{.rows = g.N * g.OH * g.OW,
                            .taps = g.taps(),
                            .units = map.columns,
                            .columns = C_out,
                            .packed = packed.data(),
                            .packed_taps = g.taps(),
                            .has_bias = has_bias,
                            .residual = epilogue.residual,
                            .out_base = epilogue.y};
    gather_rows<U, Packs>(job, locate);
  });
}

/// large (N, H, W, C_large) = conv^T(small_map): the data gradient of a convolution, and the
/// forward pass of a transposed one; in units U.
///   small_map  (N, OH, OW, C);  w  (taps, C, C_large), or (taps, C_large, C) if `transposed`
///   bias   (C_large) or empty
template <class U, class T = Sum<U>>
void direct_adjoint(const Window& g, View<const T> small_map, const T* w, bool transposed,
                    Index C_large, View<const T> bias, T* large) {
  const Index C = small_map.shape.back();
  const UnitRows<U> rows(as_matrix(small_map));
  const Matrix<const U> map = rows.matrix();
  const Scratch<U> zeros(map.columns, U{});
  with_panel_width<U>(C_large, [&]<int Packs>() {
    Scratch<U> packed(g.taps() * packed_size<U, Packs>(C, C_large));
    pack_panels<U, Packs>(w, g.taps(), C, C_large, transposed ? C : C_large, transposed,
                          packed.data());
    for (Index phase_id = 0; phase_id < g.stride * g.stride; ++phase_id) {
      const Phase phase(g, phase_id / g.stride, phase_id % g.stride);
      const GatherRows<U> job{.rows = g.N * phase.height * phase.width,
                              .taps = phase.taps,
                              .units = map.columns,
                              .columns = C_large,
                              .packed = packed.data(),
                              .packed_taps = g.taps(),
                              .tap_ids = phase.tap_ids,
                              .has_bias = !bias.empty()};
      const auto locate = [&](Index first, Index count, const RowPointers<U>& pointers) {
        locate_backward(g, phase, map.data, map.columns, zeros.data(), large, C_large, first, count,
                        pointers);
        if (!bias.empty()) std::fill_n(pointers.bias, count, bias.data);
      };
      gather_rows<U, Packs>(job, locate);
    }
  });
}

/// d[tap] (C_large, C_small) = sum over small-map pixels of large(tap, p)^T small_p; in units U.
template <class U, class T = Sum<U>>
void direct_weight_gradient(const Window& g, View<const T> large, View<const T> small_map, T* d) {
  const Index C = large.shape.back();
  const Scratch<T> zeros(C, T(0));
  const auto locate = [&](Index first, Index count, const T** source) {
    locate_forward(g, large.data, C, zeros.data(), first, count, source, outer_chunk<U>);
  };
  const GatherOuter<T> job{g.N * g.OH * g.OW, g.taps(), C, as_matrix(small_map)};
  with_panel_width<U>(small_map.shape.back(),
                      [&]<int Packs>() { gather_outer<U, Packs>(job, d, locate); });
}

}  // namespace ddpm::DDPM_ABI::kernels
