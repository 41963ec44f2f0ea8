// The transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308),
// a pack of channels at a time.
//
//   y = A^T [(G w G^T) * (B^T d B)] A       d: 6x6 of the input, w: 3x3, y: 4x4 of the output
//
// 36 products do the work of 144. The interpolation points are 0, +-1/sqrt 2, +-sqrt 2, infinity:
// against the usual 0, +-1, +-2 they halve the rounding error, and B^T has fewer products. The
// transposes A and G^T carry gradients.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <numbers>

#include "ddpm/core/simd.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

inline constexpr int outputs = 4, taps = 3, inputs = outputs + taps - 1, products = inputs * inputs;

template <class T>
inline constexpr T a = std::numbers::sqrt2_v<T> / 2;
template <class T>
inline constexpr T b = std::numbers::sqrt2_v<T>;

// Each maps `from` packs to `to` packs along one axis. Every product that is added is an explicit
// fma(): a compiler left to fuse products and sums does so differently from copy to copy of the
// code, and a tile's bits would depend on who transforms it.

struct InputTransform {  // B^T
  static constexpr int from = inputs, to = inputs;
  template <class T>
  static void apply(const simd::Pack<T>* d, simd::Pack<T>* v) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(T(-2)), d[2], d[4]),
            even2 = simd::fma<T>(P(T(-0.5)), d[2], d[4]);
    const P odd1 = simd::fma<T>(P(T(-2)), d[1], d[3]), odd2 = simd::fma<T>(P(T(-0.5)), d[1], d[3]);
    v[0] = simd::fma<T>(P(T(-2.5)), d[2], d[4]) + d[0];
    v[1] = simd::fma<T>(P(a<T>), odd1, even1);
    v[2] = simd::fma<T>(P(-a<T>), odd1, even1);
    v[3] = simd::fma<T>(P(b<T>), odd2, even2);
    v[4] = simd::fma<T>(P(-b<T>), odd2, even2);
    v[5] = simd::fma<T>(P(T(-2.5)), d[3], d[5]) + d[1];
  }
};

struct FilterTransform {  // G
  static constexpr int from = taps, to = inputs;
  template <class T>
  static void apply(const simd::Pack<T>* w, simd::Pack<T>* v) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(T(0.5)), w[2], w[0]) * P(T(-2) / 3);
    const P even2 = simd::fma<T>(P(T(2)), w[2], w[0]) * P(T(1) / 6);
    constexpr T odd1 = T(-2) / 3 * a<T>, odd2 = b<T> / 6;
    v[0] = w[0];
    v[1] = simd::fma<T>(P(odd1), w[1], even1);
    v[2] = simd::fma<T>(P(-odd1), w[1], even1);
    v[3] = simd::fma<T>(P(odd2), w[1], even2);
    v[4] = simd::fma<T>(P(-odd2), w[1], even2);
    v[5] = w[2];
  }
};

struct FilterGradient {  // G^T
  static constexpr int from = inputs, to = taps;
  template <class T>
  static void apply(const simd::Pack<T>* v, simd::Pack<T>* w) {
    using P = simd::Pack<T>;
    const P sum1 = v[1] + v[2], even1 = sum1 * P(T(-2) / 3), even2 = (v[3] + v[4]) * P(T(1) / 6);
    w[0] = v[0] + simd::fma<T>(P(T(-2) / 3), sum1, even2);
    w[1] = simd::fma<T>(v[1] - v[2], P(T(-2) / 3 * a<T>), (v[3] - v[4]) * P(b<T> / 6));
    w[2] = simd::fma<T>(P(T(0.5)), even1, simd::fma<T>(P(T(2)), even2, v[5]));
  }
};

struct OutputTransform {  // A^T
  static constexpr int from = inputs, to = outputs;
  template <class T>
  static void apply(const simd::Pack<T>* m, simd::Pack<T>* y) {
    using P = simd::Pack<T>;
    const P even1 = m[1] + m[2], odd1 = m[1] - m[2];
    const P even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + (even1 + even2);
    y[1] = simd::fma<T>(P(a<T>), odd1, odd2 * P(b<T>));
    y[2] = simd::fma<T>(P(T(0.5)), even1, even2 * P(T(2)));
    y[3] = simd::fma<T>(P(a<T> / 2), odd1, simd::fma<T>(P(2 * b<T>), odd2, m[5]));
  }
};

struct OutputGradient {  // A
  static constexpr int from = outputs, to = inputs;
  template <class T>
  static void apply(const simd::Pack<T>* y, simd::Pack<T>* m) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(T(0.5)), y[2], y[0]), even2 = simd::fma<T>(P(T(2)), y[2], y[0]);
    const P odd1 = simd::fma<T>(P(T(0.5)), y[3], y[1]), odd2 = simd::fma<T>(P(T(2)), y[3], y[1]);
    m[0] = y[0];
    m[1] = simd::fma<T>(P(a<T>), odd1, even1);
    m[2] = simd::fma<T>(P(-a<T>), odd1, even1);
    m[3] = simd::fma<T>(P(b<T>), odd2, even2);
    m[4] = simd::fma<T>(P(-b<T>), odd2, even2);
    m[5] = y[3];
  }
};

/// Applies Transform along both axes: read(i, j) gives a pack, write(i, j, pack) takes one.
template <class Transform, class T, class Read, class Write>
inline void transform(const Read& read, const Write& write) {
  constexpr int from = Transform::from, to = Transform::to;
  simd::Pack<T> half[to][from];
#pragma GCC unroll 6
  for (int j = 0; j < from; ++j) {
    simd::Pack<T> column[from], result[to];
#pragma GCC unroll 6
    for (int i = 0; i < from; ++i) column[i] = read(i, j);
    Transform::template apply<T>(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < to; ++i) {
    simd::Pack<T> row[to];
    Transform::template apply<T>(half[i], row);
#pragma GCC unroll 6
    for (int j = 0; j < to; ++j) write(i, j, row[j]);
  }
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
