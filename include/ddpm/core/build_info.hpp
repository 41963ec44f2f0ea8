// What this was compiled for, and whether the machine it runs on has that.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#include "ddpm/core/simd.hpp"

#if defined(__OPTIMIZE__) && defined(__x86_64__) && !defined(__SSE4_2__)
#pragma message("ddpm is compiled for SSE2 only: -march=native makes it several times as fast")
#endif

namespace ddpm::DDPM_ABI {

namespace detail {

#define DDPM_TEXT(text) #text
#define DDPM_TEXT_OF(macro) DDPM_TEXT(macro)
inline constexpr const char* architecture = DDPM_TEXT_OF(DDPM_ARCH);
#undef DDPM_TEXT_OF
#undef DDPM_TEXT

#if defined(__x86_64__) && defined(__GNUC__)

/// Ends the process with a line on standard error if the processor lacks instructions that the
/// compiler was told it has. It runs before main(), and is compiled without them itself.
[[gnu::noinline, gnu::target("arch=x86-64")]] inline bool check_processor() {
  __builtin_cpu_init();
  // Every x86-64 has SSE2: a runtime that says no, as zig's does, knows nothing of the processor.
  if (!__builtin_cpu_supports("sse2")) return true;
  const char* missing = nullptr;
#ifdef __SSE4_2__
  if (!__builtin_cpu_supports("sse4.2")) missing = "SSE4.2";
#endif
#ifdef __AVX__
  if (!__builtin_cpu_supports("avx")) missing = "AVX";
#endif
#ifdef __FMA__
  if (!__builtin_cpu_supports("fma")) missing = "FMA";
#endif
#ifdef __AVX2__
  if (!__builtin_cpu_supports("avx2")) missing = "AVX2";
#endif
#ifdef __AVX512F__
  if (!__builtin_cpu_supports("avx512f")) missing = "AVX-512";
#endif
#ifdef __AVX512BF16__
  if (!__builtin_cpu_supports("avx512bf16")) missing = "AVX512_BF16";
#endif
  if (missing == nullptr) return true;
  std::fputs("ddpm: this program was compiled for a processor with ", stderr);
  std::fputs(missing, stderr);
  std::fputs(", which this one has not; compile it for this one, with -march=native\n", stderr);
  std::_Exit(EXIT_FAILURE);
}
inline const bool processor_fits = check_processor();

#endif

}  // namespace detail

/// A line: version, instructions, values of a pack, compiler.
inline std::string build_info() {
#if defined(__clang__)
  const char* compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
  const char* compiler = "g++ " __VERSION__;
#else
  const char* compiler = "another compiler";
#endif
  return message("ddpm ", DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".", DDPM_VERSION_PATCH,
                 ", ", detail::architecture, ", packs of ", simd::width<float>, " floats or ",
                 simd::width<double>, " doubles, ", compiler);
}

}  // namespace ddpm::DDPM_ABI
