// The transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308),
// a pack of channels at a time.
//
//   y = A^T [(G w G^T) * (B^T d B)] A       d: 6x6 of the input, w: 3x3, y: 4x4 of the output
//
// 36 products do the work of 144. The interpolation points are 0, +-a, +-b, infinity with a b = 1:
// against the usual 0, +-1, +-2 they halve the rounding error, and B^T has fewer products. The
// transposes A and G^T carry gradients.
//
// U is the unit in which the transformed values are multiplied (core/bfloat16.hpp). Transforms are
// computed in Sum<U>.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <numbers>

#include "ddpm/core/bfloat16.hpp"

namespace ddpm::DDPM_ABI::kernels::winograd {

inline constexpr int outputs = 4, taps = 3, inputs = outputs + taps - 1, products = inputs * inputs;

/// a and b, and their squares.
template <class U>
struct Points {
  using T = Sum<U>;
  static constexpr T a = std::numbers::sqrt2_v<T> / 2, b = std::numbers::sqrt2_v<T>;
  static constexpr T a2 = T(0.5), b2 = T(2);
};

/// Of those with short constants the ones whose planes, rounded to bfloat16, add least to the error
/// of trained networks.
template <>
struct Points<Bfloat16Pair> {
  static constexpr float a = 2.0F / 3, b = 1.5F, a2 = 4.0F / 9, b2 = 2.25F;
};

// Each maps `from` packs to `to` packs along one axis. Every product that is added is an explicit
// fma(): a compiler left to fuse products and sums does so differently from copy to copy of the
// code, and a tile's bits would depend on who transforms it.

template <class U>
struct InputTransform : Points<U> {  // B^T
  using T = Sum<U>;
  using Points<U>::a, Points<U>::b, Points<U>::a2, Points<U>::b2;
  static constexpr int from = inputs, to = inputs;
  static void apply(const simd::Pack<T>* d, simd::Pack<T>* v) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(-b2), d[2], d[4]), even2 = simd::fma<T>(P(-a2), d[2], d[4]);
    const P odd1 = simd::fma<T>(P(-b2), d[1], d[3]), odd2 = simd::fma<T>(P(-a2), d[1], d[3]);
    v[0] = simd::fma<T>(P(-(a2 + b2)), d[2], d[4]) + d[0];
    v[1] = simd::fma<T>(P(a), odd1, even1);
    v[2] = simd::fma<T>(P(-a), odd1, even1);
    v[3] = simd::fma<T>(P(b), odd2, even2);
    v[4] = simd::fma<T>(P(-b), odd2, even2);
    v[5] = simd::fma<T>(P(-(a2 + b2)), d[3], d[5]) + d[1];
  }
};

/// The factors of the rows of G for a and b.
template <class U>
struct FilterFactors : Points<U> {
  using T = Sum<U>;
  using Points<U>::a, Points<U>::b, Points<U>::a2, Points<U>::b2;
  static constexpr T even1 = 1 / (2 * a2 * (a2 - b2)), even2 = 1 / (2 * b2 * (b2 - a2));
  static constexpr T odd1 = even1 * a, odd2 = b / (2 * b2 * (b2 - a2));
};

template <class U>
struct FilterTransform : FilterFactors<U> {  // G
  using T = Sum<U>;
  using F = FilterFactors<U>;
  static constexpr int from = taps, to = inputs;
  static void apply(const simd::Pack<T>* w, simd::Pack<T>* v) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(F::a2), w[2], w[0]) * P(F::even1);
    const P even2 = simd::fma<T>(P(F::b2), w[2], w[0]) * P(F::even2);
    v[0] = w[0];
    v[1] = simd::fma<T>(P(F::odd1), w[1], even1);
    v[2] = simd::fma<T>(P(-F::odd1), w[1], even1);
    v[3] = simd::fma<T>(P(F::odd2), w[1], even2);
    v[4] = simd::fma<T>(P(-F::odd2), w[1], even2);
    v[5] = w[2];
  }
};

template <class U>
struct FilterGradient : FilterFactors<U> {  // G^T
  using T = Sum<U>;
  using F = FilterFactors<U>;
  static constexpr int from = inputs, to = taps;
  static void apply(const simd::Pack<T>* v, simd::Pack<T>* w) {
    using P = simd::Pack<T>;
    const P sum1 = v[1] + v[2], even1 = sum1 * P(F::even1), even2 = (v[3] + v[4]) * P(F::even2);
    w[0] = v[0] + simd::fma<T>(P(F::even1), sum1, even2);
    w[1] = simd::fma<T>(v[1] - v[2], P(F::odd1), (v[3] - v[4]) * P(F::odd2));
    w[2] = simd::fma<T>(P(F::a2), even1, simd::fma<T>(P(F::b2), even2, v[5]));
  }
};

template <class U>
struct OutputTransform : Points<U> {  // A^T
  using T = Sum<U>;
  using Points<U>::a, Points<U>::b, Points<U>::a2, Points<U>::b2;
  static constexpr int from = inputs, to = outputs;
  static void apply(const simd::Pack<T>* m, simd::Pack<T>* y) {
    using P = simd::Pack<T>;
    const P even1 = m[1] + m[2], odd1 = m[1] - m[2];
    const P even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + (even1 + even2);
    y[1] = simd::fma<T>(P(a), odd1, odd2 * P(b));
    y[2] = simd::fma<T>(P(a2), even1, even2 * P(b2));
    y[3] = simd::fma<T>(P(a * a2), odd1, simd::fma<T>(P(b * b2), odd2, m[5]));
  }
};

template <class U>
struct OutputGradient : Points<U> {  // A
  using T = Sum<U>;
  using Points<U>::a, Points<U>::b, Points<U>::a2, Points<U>::b2;
  static constexpr int from = outputs, to = inputs;
  static void apply(const simd::Pack<T>* y, simd::Pack<T>* m) {
    using P = simd::Pack<T>;
    const P even1 = simd::fma<T>(P(a2), y[2], y[0]), even2 = simd::fma<T>(P(b2), y[2], y[0]);
    const P odd1 = simd::fma<T>(P(a2), y[3], y[1]), odd2 = simd::fma<T>(P(b2), y[3], y[1]);
    m[0] = y[0];
    m[1] = simd::fma<T>(P(a), odd1, even1);
    m[2] = simd::fma<T>(P(-a), odd1, even1);
    m[3] = simd::fma<T>(P(b), odd2, even2);
    m[4] = simd::fma<T>(P(-b), odd2, even2);
    m[5] = y[3];
  }
};

/// Applies Transform along both axes: read(i, j) gives a pack, write(i, j, pack) takes one.
template <class Transform, class Read, class Write>
inline void transform(const Read& read, const Write& write) {
  using T = typename Transform::T;
  constexpr int from = Transform::from, to = Transform::to;
  simd::Pack<T> half[to][from];
#pragma GCC unroll 6
  for (int j = 0; j < from; ++j) {
    simd::Pack<T> column[from], result[to];
#pragma GCC unroll 6
    for (int i = 0; i < from; ++i) column[i] = read(i, j);
    Transform::apply(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < to; ++i) {
    simd::Pack<T> row[to];
    Transform::apply(half[i], row);
#pragma GCC unroll 6
    for (int j = 0; j < to; ++j) write(i, j, row[j]);
  }
}

}  // namespace ddpm::DDPM_ABI::kernels::winograd
