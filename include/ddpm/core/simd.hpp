// The door to SIMD: packs of xsimd and functions of them, and loops over arrays in packs. (Packs of
// bfloat16 are in bfloat16.hpp, tiles of it in kernels/product/amx.hpp.)
//
// One generic lambda serves whole packs and the tail alike: a tail is computed in a padded pack, so
// an element's bits depend only on its value, never on its place in the array. That is what makes
// a sample independent of the batch it is in.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/intrinsics.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>
#include <xsimd/xsimd.hpp>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::simd {

template <class T>
using Pack = xsimd::batch<T, xsimd::default_arch>;

template <class T>
inline constexpr Index width = static_cast<Index>(Pack<T>::size);

template <class T>
Pack<T> load(const T* values) {
  return Pack<T>::load_unaligned(values);
}

template <class T>
void store(T* values, const Pack<T>& pack) {
  pack.store_unaligned(values);
}

/// a * b + c, rounded once where the machine can.
template <class T>
Pack<T> fma(const Pack<T>& a, const Pack<T>& b, const Pack<T>& c) {
#if defined(__AVX512F__)
  // xsimd 8 multiplies and adds on AVX-512, and clang does not contract the two.
  if constexpr (std::is_same_v<T, float>)
    return Pack<T>(_mm512_fmadd_ps(a, b, c));
  else
    return Pack<T>(_mm512_fmadd_pd(a, b, c));
#else
  return xsimd::fma(a, b, c);
#endif
}

using xsimd::erf;
using xsimd::exp;
using xsimd::max;
using xsimd::min;
using xsimd::select;
using xsimd::sqrt;

/// The sum of a pack's values, in an order fixed by the architecture.
template <class T>
T reduce_add(const Pack<T>& pack) {
#if XSIMD_VERSION_MAJOR >= 9
  return xsimd::reduce_add(pack);
#else
  return xsimd::hadd(pack);
#endif
}

/// The first `count` values, 0 behind them; count <= width.
template <class T>
Pack<T> load_partial(const T* values, Index count) {
  assert(count >= 0 && count <= width<T>);
#if defined(__AVX512F__)
  const unsigned mask = (1U << count) - 1;
  if constexpr (std::is_same_v<T, float>)
    return Pack<T>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), values));
  else
    return Pack<T>(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), values));
#else
  alignas(64) T padded[static_cast<std::size_t>(width<T>)] = {};
  std::memcpy(padded, values, static_cast<std::size_t>(count) * sizeof(T));
  return load(padded);
#endif
}

template <class T>
void store_partial(T* values, const Pack<T>& pack, Index count) {
  assert(count >= 0 && count <= width<T>);
#if defined(__AVX512F__)
  const unsigned mask = (1U << count) - 1;
  if constexpr (std::is_same_v<T, float>)
    _mm512_mask_storeu_ps(values, static_cast<__mmask16>(mask), pack);
  else
    _mm512_mask_storeu_pd(values, static_cast<__mmask8>(mask), pack);
#else
  alignas(64) T padded[static_cast<std::size_t>(width<T>)];
  store(padded, pack);
  std::memcpy(values, padded, static_cast<std::size_t>(count) * sizeof(T));
#endif
}

/// Asks for the cache line of a place, to be read or written; Locality as the compilers number it:
/// 3 brings it into the first level, 2 into the second. Always inlined: g++ 12 takes a function of
/// nothing but prefetches for one without effect and drops its calls. Other compilers than g++ and
/// clang do without.
template <bool Write = false, int Locality = 3>
[[gnu::always_inline]] inline void prefetch([[maybe_unused]] const void* place) {
#ifdef __GNUC__
  __builtin_prefetch(place, Write, Locality);
#endif
}

#ifdef __GNUC__

namespace detail {

template <class T, int Count>
struct Vector {
  using type [[gnu::vector_size(Count * sizeof(T))]] = T;
};

/// Values of the 16 bytes within which every instruction set shuffles fast.
template <class T>
inline constexpr int lane = 16 / sizeof(T);

template <class V, int... I>
auto join(const V& low, const V& high, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(low, high, I...);
}

/// The lanes at from, from + lane rows, from + 2 lane rows, ...
template <class T, int Lanes>
auto gather_lanes(const T* from, Index stride) {
  typename Vector<T, Lanes * lane<T>>::type lanes;
  if constexpr (Lanes == 1) {
    std::memcpy(&lanes, from, sizeof(lanes));
  } else {
    const auto low = gather_lanes<T, Lanes / 2>(from, stride);
    const auto high = gather_lanes<T, Lanes / 2>(from + Lanes / 2 * lane<T> * stride, stride);
    lanes = join(low, high, std::make_integer_sequence<int, Lanes * lane<T>>());
  }
  return lanes;
}

/// Interleaves the lower (Half = 0) or upper halves of each lane.
template <int Half, class T, class V, int... I>
V interleave(const V& a, const V& b, std::integer_sequence<int, I...>) {
  constexpr int count = sizeof...(I), L = lane<T>;
  return __builtin_shufflevector(a, b, (I / L * L + Half * L / 2 + I % L / 2 + I % 2 * count)...);
}

}  // namespace detail

/// to[j][i] = from[i][j] for a square of width<T> rows and columns. Loads bring lanes to their
/// places; shuffles stay within lanes, since across them g++ 12 makes long code of them on AVX2. In
/// the compilers' own vectors, for all instruction sets at once.
template <class T>
void transpose(const T* from, Index from_stride, T* to, Index to_stride) {
  using namespace detail;
  constexpr int size = static_cast<int>(width<T>), L = lane<T>;
  const auto order = std::make_integer_sequence<int, size>();
#pragma GCC unroll 8
  for (int column = 0; column < size; column += L) {
    typename Vector<T, size>::type rows[L], mixed[L];
#pragma GCC unroll 4
    for (int i = 0; i < L; ++i)
      rows[i] = gather_lanes<T, size / L>(from + i * from_stride + column, from_stride);
#pragma GCC unroll 2
    for (int step = 1; step < L; step *= 2) {
#pragma GCC unroll 2
      for (int i = 0; i < L / 2; ++i) {
        mixed[2 * i] = interleave<0, T>(rows[i], rows[i + L / 2], order);
        mixed[2 * i + 1] = interleave<1, T>(rows[i], rows[i + L / 2], order);
      }
#pragma GCC unroll 4
      for (int i = 0; i < L; ++i) rows[i] = mixed[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < L; ++i)
      std::memcpy(to + (column + i) * to_stride, &rows[i], sizeof(rows[i]));
  }
}

#else

/// to[j][i] = from[i][j] for a square of width<T> rows and columns.
template <class T>
void transpose(const T* from, Index from_stride, T* to, Index to_stride) {
  for (Index i = 0; i < width<T>; ++i)
    for (Index j = 0; j < width<T>; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

#endif

/// out[i] = f(in[i]...) for i < count; f takes and returns packs. out may be one of the inputs.
template <class T, class F, class... In>
void map(F&& f, Index count, T* out, const In*... in) {
  Index i = 0;
  for (; i + width<T> <= count; i += width<T>) store<T>(out + i, f(load(in + i)...));
  if (i < count) store_partial<T>(out + i, f(load_partial(in + i, count - i)...), count - i);
}

/// `Packs` whole packs of columns from `first` on, or one that has `valid` values.
template <class T, int Packs, bool Whole>
struct Strip {
  static constexpr int packs = Packs;
  Index first, valid;

  Pack<T> load(const T* row, int q) const {
    if constexpr (Whole)
      return simd::load(row + first + q * width<T>);
    else
      return load_partial(row + first, valid);
  }
  [[gnu::always_inline]] void prefetch(const T* row) const {
    for (int q = 0; q < Packs; ++q) simd::prefetch(row + first + q * width<T>);
  }
  void store(T* row, int q, const Pack<T>& pack) const { put(row + first + q * width<T>, pack); }
  /// Writes one pack to where its first value belongs.
  void put(T* place, const Pack<T>& pack) const {
    if constexpr (Whole)
      simd::store(place, pack);
    else
      store_partial(place, pack, valid);
  }
};

/// Calls f(strip) for strips of two packs or less that cover `columns`: loops over rows go inside,
/// so that what depends only on the column stays in registers.
template <class T, class F>
void for_each_strip(Index columns, const F& f) {
  Index c = 0;
  for (; c + 2 * width<T> <= columns; c += 2 * width<T>) f(Strip<T, 2, true>{c, 2 * width<T>});
  for (; c + width<T> <= columns; c += width<T>) f(Strip<T, 1, true>{c, width<T>});
  if (c < columns) f(Strip<T, 1, false>{c, columns - c});
}

/// The sum of f(in[i]...) over i < count, in an order fixed by count; f must give 0 for zeros. Four
/// sums go side by side, which waits less for each addition and rounds less.
template <class T, class F, class... In>
T sum(F&& f, Index count, const T* first, const In*... in) {
  constexpr Index side = 4;
  Pack<T> total[side] = {Pack<T>(T(0)), Pack<T>(T(0)), Pack<T>(T(0)), Pack<T>(T(0))};
  Index i = 0;
  for (; i + side * width<T> <= count; i += side * width<T>)
    for (Index k = 0; k < side; ++k)
      total[k] += f(load(first + i + k * width<T>), load(in + i + k * width<T>)...);
  for (; i + width<T> <= count; i += width<T>) total[0] += f(load(first + i), load(in + i)...);
  if (i < count)
    total[1] += f(load_partial(first + i, count - i), load_partial(in + i, count - i)...);
  return reduce_add<T>((total[0] + total[1]) + (total[2] + total[3]));
}

/// The largest of `count` >= 1 values.
template <class T>
T largest(Index count, const T* values) {
  T result = values[0];
  Index i = 0;
  if (count >= width<T>) {
    Pack<T> most = load(values), other = most;
    for (i = width<T>; i + 2 * width<T> <= count; i += 2 * width<T>) {
      most = max(most, load(values + i));
      other = xsimd::max(other, load(values + i + width<T>));
    }
    for (; i + width<T> <= count; i += width<T>) most = max(most, load(values + i));
    most = max(most, other);
    alignas(64) T lanes[static_cast<std::size_t>(width<T>)];
    store(lanes, most);
    for (const T lane : lanes) result = std::max(result, lane);
  }
  for (; i < count; ++i) result = std::max(result, values[i]);
  return result;
}

}  // namespace ddpm::DDPM_ABI::simd
