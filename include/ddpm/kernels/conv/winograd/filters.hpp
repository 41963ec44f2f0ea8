// What the tasks of a Winograd convolution share: where their weights lie, and their output's end.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/winograd/planes.hpp"
#include "ddpm/kernels/product/epilogue.hpp"

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

/// Turns the sums of a tile and a panel into pixels of the output, from column `first` on. Product
/// i of pack q lies at m + i * Plane + q * Pack.
template <class U, Index Plane, Index Pack>
void write_tile(const Window& g, const Sum<U>* m, const PixelWalk& at, Index first, Index C_out,
                const Epilogue<Sum<U>>& out) {
  using T = Sum<U>;
  const Index rows = std::min<Index>(outputs, g.OH - at.h * outputs);
  const Index columns = std::min<Index>(outputs, g.OW - at.w * outputs);
  const T* bias = out.bias_of(at.n);
  for (Index c = first, q = 0; q < packs && c < C_out; ++q, c += simd::width<T>) {
    simd::Pack<T> y[outputs][outputs];
    transform<OutputTransform<U>>(
        [&](int i, int j) { return simd::load(m + (i * inputs + j) * Plane + q * Pack); },
        [&](int i, int j, const simd::Pack<T>& value) { y[i][j] = value; });
    const Index valid = std::min(simd::width<T>, C_out - c);
    const simd::Pack<T> added =
        bias ? simd::load_partial(bias + c, valid) : simd::Pack<T>(T(0));  // once for all pixels
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < columns; ++j) {
        const Index place =
            ((at.n * g.OH + at.h * outputs + i) * g.OW + at.w * outputs + j) * C_out + c;
        write_sums<T>(y[i][j] + added, valid, nullptr, out.residual_at(place), out.y + place);
      }
  }
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
