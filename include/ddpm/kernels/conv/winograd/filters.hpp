// What the tasks of a Winograd convolution share: where their weights lie, and their output's end.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/winograd_planes.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

/// Where the weights of a panel lie: plain, (9, C_in, C_out), or for a data gradient, packed by
/// pack_panels() and then read as turned by 180 degrees.
template <class T>
struct Filters {
  const T* data;
  Index panel, tap, term;  ///< strides
  Index columns;           ///< values that are there, from the first panel's start
  bool turned;

  static constexpr Index width = panel_width<T, packs>;

  static Filters plain(const T* w, Index C_in, Index C_out) {
    return {w, width, C_in * C_out, C_out, C_out, false};
  }
  static Filters packed(const T* w, Index C_in, Index C_out) {
    const Index panels = (C_out + width - 1) / width;
    return {w, taps * taps * C_in * width, C_in * width, width, panels * width, true};
  }
};

/// What a convolution does once its sums are there.
template <class T>
struct Epilogue {
  View<const T> bias;           ///< (C_out), (N, C_out) or empty
  const T* residual = nullptr;  ///< laid out as the output
  T* y = nullptr;
};

/// Turns the sums of a tile and a panel into pixels of the output, from column `first` on. Product
/// i of pack q lies at m + i * Plane + q * Pack.
template <Index Plane, Index Pack, class T>
void write_tile(const Window& g, const T* m, const PixelWalk& at, Index first, Index C_out,
                const Epilogue<T>& out) {
  const Index rows = std::min<Index>(outputs, g.OH - at.h * outputs);
  const Index columns = std::min<Index>(outputs, g.OW - at.w * outputs);
  const T* bias = out.bias.data;
  if (bias && out.bias.shape.rank() == 2) bias += at.n * C_out;
  for (Index c = first, q = 0; q < packs && c < C_out; ++q, c += simd::width<T>) {
    const Index valid = std::min(simd::width<T>, C_out - c);
    const bool whole = valid == simd::width<T>;
    const auto load = [&](const T* p) {
      return whole ? simd::load(p) : simd::load_partial(p, valid);
    };
    simd::Pack<T> y[outputs][outputs];
    transform<OutputTransform, T>(
        [&](int i, int j) { return simd::load(m + (i * inputs + j) * Plane + q * Pack); },
        [&](int i, int j, const simd::Pack<T>& value) { y[i][j] = value; });
    const simd::Pack<T> added = bias ? load(bias + c) : simd::Pack<T>(T(0));
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j) {
        const Index place =
            ((at.n * g.OH + at.h * outputs + i) * g.OW + at.w * outputs + j) * C_out + c;
        simd::Pack<T> value = y[i][j] + added;
        if (out.residual) value += load(out.residual + place);
        if (whole)
          simd::store(out.y + place, value);
        else
          simd::store_partial(out.y + place, value, valid);
      }
  }
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
