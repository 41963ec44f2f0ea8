// The only door to SIMD: packs of xsimd, and loops over arrays in packs.
//
// One generic lambda serves whole packs and the tail alike: a tail is computed in a padded pack, so
// an element's bits depend on its value alone, never on its place in the array. That is what makes
// a sample independent of the batch it is in.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstring>
#include <xsimd/xsimd.hpp>

#include "ddpm/core/shape.hpp"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace ddpm::inline DDPM_ABI::simd {

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
  alignas(64) T padded[static_cast<std::size_t>(width<T>)] = {};
  std::memcpy(padded, values, static_cast<std::size_t>(count) * sizeof(T));
  return load(padded);
}

template <class T>
void store_partial(T* values, const Pack<T>& pack, Index count) {
  alignas(64) T padded[static_cast<std::size_t>(width<T>)];
  store(padded, pack);
  std::memcpy(values, padded, static_cast<std::size_t>(count) * sizeof(T));
}

/// out[i] = f(in[i]...) for i < count; f takes and returns packs. out may be one of the inputs.
template <class T, class F, class... In>
void map(F&& f, Index count, T* out, const In*... in) {
  Index i = 0;
  for (; i + width<T> <= count; i += width<T>) store<T>(out + i, f(load(in + i)...));
  if (i < count) store_partial<T>(out + i, f(load_partial(in + i, count - i)...), count - i);
}

/// The sum of f(in[i]...) over i < count, in an order fixed by count; f must give 0 for zeros.
template <class T, class F, class... In>
T sum(F&& f, Index count, const T* first, const In*... in) {
  Pack<T> total(T(0));
  Index i = 0;
  for (; i + width<T> <= count; i += width<T>) total += f(load(first + i), load(in + i)...);
  if (i < count) total += f(load_partial(first + i, count - i), load_partial(in + i, count - i)...);
  return reduce_add(total);
}

}  // namespace ddpm::inline DDPM_ABI::simd
