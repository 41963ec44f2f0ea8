// Winograd convolution of few tiles, such as one image's small maps: the weights are all the work.
//
// Their planes V would be written, four times as many bytes as the weights, and read for next to no
// products. So a task holds some weights as they are, in the first-level cache, and multiplies the
// values of V where they come about, in registers.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include "ddpm/kernels/conv/winograd/filters.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

/// A task is a panel of columns. U lies in chunks of one pack of C_in, in which every value is a
/// constant away from the start.
template <class T, int Tiles>
class FewTiles {
 public:
  FewTiles(const Window& g, Index C_in, Index C_out, const Filters<T>& w)
      : g_(g), tiling_(g), C_in_(C_in), C_out_(C_out), chunks_((C_in + chunk - 1) / chunk), w_(w) {}

  void write(const T* x, const Epilogue<T>& epilogue) const {
    const Index tiles = tiling_.count();
    Scratch<T> u(chunks_ * chunk_planes);
    if (tiles < Tiles) std::fill_n(u.data(), chunks_ * chunk_planes, T(0));
    fill_planes<InputTransform<T>>(x, g_.input(), C_in_, g_.padding, tiling_, 0, tiles,
                                   Planes<T>(u.data(), chunk, plane, chunk_planes, chunks_));
    parallel_for((C_out_ + width - 1) / width,
                 [&](Index panel) { run(u.data(), panel, epilogue); });
  }

 private:
  static constexpr Index chunk = simd::width<T>, width = panel_width<T, packs>;
  static constexpr Index term_weights = taps * taps * width;  ///< weights of a term and panel
  static constexpr Index plane = Tiles * chunk, chunk_planes = products * plane;

  void run(const T* u, Index panel, const Epilogue<T>& epilogue) const {
    Scratch<T> weights(chunk * term_weights), m(packs * chunk_planes);
    std::fill_n(m.data(), packs * chunk_planes, T(0));
    for (Index c = 0; c < chunks_; ++c) {
      copy_weights(panel, c, weights.data());
      const bool last = c + 1 == chunks_;
      add_chunk(weights.data(), u + c * chunk_planes, terms_of(c), m.data(),
                weights_at(panel + last, last ? 0 : c + 1));
    }
    PixelWalk at = tiling_.at(0);
    for (Index tile = 0; tile < tiling_.count(); ++tile, at.next())
      write_tile<T, plane, chunk_planes>(g_, m.data() + tile * chunk, at, panel * width, C_out_,
                                         epilogue);
  }

  Index terms_of(Index c) const { return std::min(chunk, C_in_ - c * chunk); }

  /// The first tap of chunk c; null past the last panel.
  const T* weights_at(Index panel, Index c) const {
    if (panel * width >= w_.columns) return nullptr;
    return w_.data + panel * w_.panel + c * chunk * w_.term;
  }

  /// To (terms, taps, width).
  void copy_weights(Index panel, Index c, T* to) const {
    const T* from = weights_at(panel, c);
    const Index valid = std::min(width, w_.columns - panel * width);
    for (Index k = 0; k < terms_of(c); ++k, from += w_.term)
      for (Index tap = 0; tap < taps * taps; ++tap, to += width) {
        const T* row = from + (w_.turned ? taps * taps - 1 - tap : tap) * w_.tap;
        std::copy_n(row, valid, to);
        std::fill(to + valid, to + width, T(0));
      }
  }

  /// m += U V for the terms of a chunk. The weights at `next` are prefetched, a tap with each row.
  void add_chunk(const T* weights, const T* u, Index terms, T* m, const T* next) const {
    for (Index q = 0; q < packs; ++q) {
      const auto add = [&]<int Row>() {
        const Index tap = q * inputs + Row;
        const bool ask = next && tap < taps * taps;
        add_row<Row>(weights + q * simd::width<T>, u, terms, m + q * chunk_planes,
                     ask ? next + tap * w_.tap : weights, ask ? w_.term : 0);
      };
      [&]<int... Row>(std::integer_sequence<int, Row...>) { (add.template operator()<Row>(), ...); }
      (std::make_integer_sequence<int, inputs>());
    }
  }

  /// The products of one row of transformed kernels.
  template <int Row>
  static void add_row(const T* weights, const T* u, Index terms, T* m, const T* ahead,
                      Index ahead_stride) {
    using P = simd::Pack<T>;
    T* const first = m + Row * inputs * plane;
    P sum[inputs][Tiles];
    for (int j = 0; j < inputs; ++j)
      for (int tile = 0; tile < Tiles; ++tile)
        sum[j][tile] = simd::load(first + j * plane + tile * chunk);
    u += Row * inputs * plane;
    for (Index k = 0; k < terms; ++k, weights += term_weights, ahead += ahead_stride) {
      prefetch_panel<T, packs, 2>(ahead);
      P row[taps], v[inputs];
      for (int j = 0; j < taps; ++j) {
        P column[taps], result[inputs];
        for (int i = 0; i < taps; ++i) column[i] = simd::load(weights + (i * taps + j) * width);
        FilterTransform<T>::apply(column, result);
        row[j] = result[Row];
      }
      FilterTransform<T>::apply(row, v);
#pragma GCC unroll 6
      for (int j = 0; j < inputs; ++j)
#pragma GCC unroll 4
        for (int tile = 0; tile < Tiles; ++tile)
          sum[j][tile] = simd::fma(P(u[j * plane + tile * chunk + k]), v[j], sum[j][tile]);
    }
    for (int j = 0; j < inputs; ++j)
      for (int tile = 0; tile < Tiles; ++tile)
        simd::store(first + j * plane + tile * chunk, sum[j][tile]);
  }

  const Window& g_;
  Tiling tiling_;
  Index C_in_, C_out_, chunks_;
  Filters<T> w_;
};

/// Writes epilogue.y as convolve() does, of at most S::few_tiles tiles.
template <class T, class S>
void convolve_few(const Window& g, View<const T> x, const Filters<T>& w, Index C_out,
                  const Epilogue<T>& epilogue) {
  if (Tiling(g).count() == 1)
    FewTiles<T, 1>(g, x.shape.back(), C_out, w).write(x.data, epilogue);
  else
    FewTiles<T, S::few_tiles>(g, x.shape.back(), C_out, w).write(x.data, epilogue);
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
