// The one place that includes stb, which decodes PNG, JPEG, BMP and GIF: a copy of our own, in a
// namespace, private to each translation unit. A program may use another copy, before or after.
//
// SPDX-License-Identifier: MIT
#pragma once

// What stb includes, outside of the namespace.
#include "ddpm/core/intrinsics.hpp"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "ddpm/io/stb/set_aside.hpp"
#include "ddpm/version.hpp"

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 16384
#if defined(__aarch64__)
#define STBI_NEON  // as on x86, what overflows in a damaged JPEG then wraps
#endif

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
namespace ddpm::DDPM_ABI::io::stb {
#include <stb_image.h>

inline stbi_uc* load(const stbi_uc* bytes, int size, int* width, int* height, int* in_file,
                     int channels) {
  return stbi_load_from_memory(bytes, size, width, height, in_file, channels);
}
inline void free(void* pixels) { stbi_image_free(pixels); }
inline const char* failure_reason() { return stbi_failure_reason(); }
}  // namespace ddpm::DDPM_ABI::io::stb
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "ddpm/io/stb/put_back.hpp"
