// bfloat16, the upper half of a float, in pairs: two terms of a product that follow each other.
//
//   multiply_add(a, b, sum) = sum + a.first b.first + a.second b.second     for each pair of a pack
//
// A register holds a pair where it holds a float, so that one register tile serves both: its units
// are floats, doubles, or pairs. Values are rounded to nearest, ties to even.
//
// Pairs are what products are made of where the processor multiplies them. Elsewhere the operands
// are rounded, and the kernels of floats do the rest (kernels/product/operand.hpp): nothing is
// compiled twice. DDPM_TEST_PAIRS has pairs everywhere, for tests under the address sanitizer.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <numbers>

#include "ddpm/core/precision.hpp"
#include "ddpm/core/simd.hpp"

#if defined(DDPM_AVX512_BF16) || defined(DDPM_TEST_PAIRS)
#define DDPM_PAIRS
#endif

namespace ddpm::DDPM_ABI {

/// The first value in the lower half, the second, of the next term, in the upper.
struct Bfloat16Pair {
  std::uint32_t bits = 0;
};

namespace detail {
template <class U>
struct Unit {
  using Sum = U;
  static constexpr Index terms = 1;
};
template <>
struct Unit<Bfloat16Pair> {
  using Sum = float;
  static constexpr Index terms = 2;
};
}  // namespace detail

/// What a product of units U is summed in: float for pairs.
template <class U>
using Sum = typename detail::Unit<U>::Sum;

template <class U>
inline constexpr Index terms_of_unit = detail::Unit<U>::terms;

/// How many units hold so many terms.
template <class U>
constexpr Index units(Index terms) {
  return (terms + terms_of_unit<U> - 1) / terms_of_unit<U>;
}

/// True if products of T are made of pairs where the precision is bfloat16. Doubles never are.
template <class T>
inline constexpr bool in_pairs =
#ifdef DDPM_PAIRS
    std::is_same_v<T, float>;
#else
    false;
#endif

/// The precision of the kernels that this thread's products of T take.
template <class T>
Precision kernel_precision() {
  return in_pairs<T> ? matmul_precision() : Precision::float32;
}

/// Calls `f.template operator()<U>()` with the units of products of T at this thread's precision.
template <class T, class F>
void with_unit(const F& f) {
  if constexpr (in_pairs<T>)
    if (matmul_precision() == Precision::bfloat16) return f.template operator()<Bfloat16Pair>();
  f.template operator()<T>();
}

/// The nearest bfloat16, in the upper half of the bits; the lower is zero. Not-a-numbers stay so.
inline std::uint32_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return 0x7FC00000;
  return (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
}

inline Bfloat16Pair bfloat16_pair(float first, float second) {
  return {bfloat16_bits(first) >> 16 | bfloat16_bits(second)};
}

namespace simd {

/// As many pairs as a pack has floats.
using PairPack = Pack<std::uint32_t>;

inline PairPack load(const Bfloat16Pair* pairs) { return PairPack::load_unaligned(&pairs->bits); }
inline void store(Bfloat16Pair* pairs, const PairPack& pack) { pack.store_unaligned(&pairs->bits); }

inline void transpose(const Bfloat16Pair* from, Index from_stride, Bfloat16Pair* to,
                      Index to_stride) {
  transpose(&from->bits, from_stride, &to->bits, to_stride);
}

template <class U>
auto broadcast(const U& unit) {
  if constexpr (std::is_same_v<U, Bfloat16Pair>)
    return PairPack(unit.bits);
  else
    return Pack<U>(unit);
}

inline PairPack bits_of(const Pack<float>& values) { return std::bit_cast<PairPack>(values); }

/// The nearest values of bfloat16.
inline Pack<float> rounded(const Pack<float>& values) {
  const PairPack bits = bits_of(values);
  const PairPack sums = bits + PairPack(0x7FFF) + (bits >> 16 & PairPack(1));
  const auto nan = Pack<float>(std::bit_cast<float>(0x7FC00000));
  const Pack<float> nearest = std::bit_cast<Pack<float>>(sums & PairPack(0xFFFF0000));
  return select(values == values, nearest, nan);
}

template <class T>
Pack<T> multiply_add(const Pack<T>& a, const Pack<T>& b, const Pack<T>& sum) {
  return simd::fma(a, b, sum);
}

#ifdef DDPM_AVX512_BF16

inline Pack<float> multiply_add(const PairPack& a, const PairPack& b, const Pack<float>& sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh) static_cast<__m512i>(a),
                          (__m512bh) static_cast<__m512i>(b));
}

namespace detail {
/// The first 16 values of the result are those of `low`.
inline __m512i round(const Pack<float>& low, const Pack<float>& high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}
}  // namespace detail

/// Pairs of a value of each pack.
inline PairPack pair(const Pack<float>& first, const Pack<float>& second) {
  alignas(64) static constexpr auto interleaved = [] {
    std::array<std::uint16_t, 32> places{};
    for (std::uint16_t i = 0; i < 16; ++i) {
      places[std::size_t{2} * i] = i;
      places[std::size_t{2} * i + 1] = static_cast<std::uint16_t>(i + 16);
    }
    return places;
  }();
  return _mm512_permutexvar_epi16(_mm512_load_si512(interleaved.data()),
                                  detail::round(first, second));
}

/// 2^x to 5e-6 of its value, for what is rounded to bfloat16 next.
inline Pack<float> coarse_exp2(const Pack<float>& x) {
  const Pack<float> whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT), part = x - whole;
  Pack<float> power(0.00961296F);  // 2^part for |part| <= 1/2, by least squares
  for (const float coefficient : {0.05596545F, 0.24023666F, 0.69311417F, 1.0F})
    power = simd::fma(power, part, Pack<float>(coefficient));
  return _mm512_scalef_ps(power, whole);
}

/// 1 / (1 + exp(-x)) to 1e-4 of its value, for what is rounded to bfloat16 next.
inline Pack<float> coarse_sigmoid(const Pack<float>& x) {
  const Pack<float> power = coarse_exp2(x * Pack<float>(-std::numbers::log2e_v<float>));
  return _mm512_rcp14_ps(power + Pack<float>(1));
}

/// The first `count` values, 0 behind them.
inline Pack<float> first_values(const Pack<float>& pack, Index count) {
  return _mm512_maskz_mov_ps(static_cast<__mmask16>((1U << count) - 1), pack);
}

/// Writes a pack as pairs of neighbours.
inline void store_rounded(void* pairs, const Pack<float>& pack) {
  _mm256_storeu_si256(static_cast<__m256i*>(pairs), (__m256i)_mm512_cvtneps_pbh(pack));
}
/// The first 8 pairs, zeros behind them.
inline PairPack load_half(const Bfloat16Pair* pairs) {
  return _mm512_zextsi256_si512(
      _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(pairs))));
}
/// Reads what store_rounded() wrote.
inline Pack<float> load_rounded(const void* pairs) {
  const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(pairs));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/// Pairs of neighbours of two packs.
inline PairPack neighbour_pairs(const Pack<float>& low, const Pack<float>& high) {
  return detail::round(low, high);
}

/// Pairs of neighbours of the first `valid` of 32 values, zeros behind them.
inline PairPack neighbour_pairs(const float* values, Index valid) {
  if (valid == 32) return detail::round(load(values), load(values + 16));
  const Index low = std::min<Index>(valid, 16);
  return detail::round(load_partial(values, low), load_partial(values + low, valid - low));
}

/// Rounds `count` values to units<Bfloat16Pair>(count) pairs of neighbours; the last may have a
/// zero.
inline void round_pairs(const float* values, Index count, Bfloat16Pair* pairs) {
  Index i = 0;
  for (; i + 32 <= count; i += 32) store(pairs + i / 2, neighbour_pairs(values + i, 32));
  if (i == count) return;
  Bfloat16Pair last[16];
  store(last, neighbour_pairs(values + i, count - i));
  std::copy_n(last, units<Bfloat16Pair>(count - i), pairs + i / 2);
}

#else  // only for tests, see the head of this file

inline Pack<float> multiply_add(const PairPack& a, const PairPack& b, const Pack<float>& sum) {
  const auto first = [](const PairPack& pairs) { return std::bit_cast<Pack<float>>(pairs << 16); };
  const auto second = [](const PairPack& pairs) {
    return std::bit_cast<Pack<float>>(pairs & PairPack(0xFFFF0000));
  };
  return simd::fma(first(a), first(b), simd::fma(second(a), second(b), sum));
}

/// Pairs of a value of each pack.
inline PairPack pair(const Pack<float>& first, const Pack<float>& second) {
  return (bits_of(rounded(first)) >> 16) | bits_of(rounded(second));
}

/// Rounds `count` values to units<Bfloat16Pair>(count) pairs of neighbours; the last may have a
/// zero.
inline void round_pairs(const float* values, Index count, Bfloat16Pair* pairs) {
  Index i = 0;
  for (; i + 1 < count; i += 2) pairs[i / 2] = bfloat16_pair(values[i], values[i + 1]);
  if (i < count) pairs[i / 2] = bfloat16_pair(values[i], 0);
}

/// Pairs of neighbours of two packs.
inline PairPack neighbour_pairs(const Pack<float>& low, const Pack<float>& high) {
  constexpr Index size = width<float>;
  alignas(64) float values[std::size_t{2} * size];
  alignas(64) Bfloat16Pair pairs[std::size_t{size}];
  store(values, low);
  store(values + size, high);
  round_pairs(values, 2 * size, pairs);
  return load(pairs);
}

#endif

/// Pairs of the first `valid` values of two rows, zeros behind them. A null row is all zeros.
inline PairPack pair_rows(const float* first, const float* second, Index valid) {
  const Pack<float> none(0.0F);
  return pair(first ? load_partial(first, valid) : none,
              second ? load_partial(second, valid) : none);
}

}  // namespace simd

}  // namespace ddpm::DDPM_ABI
