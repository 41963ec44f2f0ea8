// The one place the version stands, and the ABI tag made from it.
//
// Everything in the library lives in namespace ddpm::DDPM_ABI, an inline namespace named after the
// version and the SIMD architecture. Two translation units built with different flags therefore
// never share a function by accident: they stay apart, or fail to link.
//
// SPDX-License-Identifier: MIT
#pragma once

#define DDPM_VERSION_MAJOR 0
#define DDPM_VERSION_MINOR 1
#define DDPM_VERSION_PATCH 0

// What cannot work says so once: the missing file ends the compilation before a thousand errors
// that follow from it.
#if __cplusplus < 202002L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 202002L)
#error "ddpm needs C++20: compile with -std=c++20 or newer"
#include <ddpm/see_the_error_above>
#elif !defined(__cpp_exceptions)
#error "ddpm reports errors as exceptions: build without -fno-exceptions"
#include <ddpm/see_the_error_above>
#elif defined(__FAST_MATH__)
#error "ddpm: -ffast-math breaks reproducible results and the checks for NaN; build without it"
#include <ddpm/see_the_error_above>
#endif

// What products of bfloat16 take, see core/bfloat16.hpp and kernels/product/amx.hpp.
#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define DDPM_AVX512_BF16
#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define DDPM_AMX
#endif
#endif

#if defined(DDPM_AMX)
#define DDPM_ARCH avx512_amx
#elif defined(DDPM_AVX512_BF16)
#define DDPM_ARCH avx512_bf16
#elif defined(__AVX512F__)
#define DDPM_ARCH avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define DDPM_ARCH avx2_fma
#elif defined(__AVX2__)
#define DDPM_ARCH avx2
#elif defined(__AVX__)
#define DDPM_ARCH avx
#elif defined(__SSE4_2__)
#define DDPM_ARCH sse4_2
#elif defined(__SSE2__) || defined(_M_X64)
#define DDPM_ARCH sse2
#elif defined(__aarch64__) || defined(_M_ARM64)
#define DDPM_ARCH neon64
#else
#error "ddpm: no SIMD architecture that xsimd has packs for (SSE2, AVX, AVX-512, 64-bit Arm)"
#endif

#define DDPM_JOIN_EXPANDED(a, b, c, arch) v##a##_##b##_##c##_##arch
#define DDPM_JOIN(a, b, c, arch) DDPM_JOIN_EXPANDED(a, b, c, arch)
// `inline` stands in the macro, so that ctags, editors and Doxygen, which do not expand it, read
// `namespace ddpm::DDPM_ABI` as a plain nested namespace.
#define DDPM_ABI \
  inline DDPM_JOIN(DDPM_VERSION_MAJOR, DDPM_VERSION_MINOR, DDPM_VERSION_PATCH, DDPM_ARCH)
