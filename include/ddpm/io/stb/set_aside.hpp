// Before stb is included, see stb.hpp: sets aside what a program may have defined for its own copy,
// forgets what that copy has left behind, and gives the functions other names, since those that stb
// declares as extern "C" would share a symbol with it even in a namespace.
//
// SPDX-License-Identifier: MIT

#pragma push_macro("STBIDEF")
#undef STBIDEF
#pragma push_macro("STBI_ASSERT")
#undef STBI_ASSERT
#pragma push_macro("STBI_EXTERN")
#undef STBI_EXTERN
#pragma push_macro("STBI_FAILURE_USERMSG")
#undef STBI_FAILURE_USERMSG
#pragma push_macro("STBI_FREE")
#undef STBI_FREE
#pragma push_macro("STBI_HAS_LROTL")
#undef STBI_HAS_LROTL
#pragma push_macro("STBI_INCLUDE_STB_IMAGE_H")
#undef STBI_INCLUDE_STB_IMAGE_H
#pragma push_macro("STBI_MALLOC")
#undef STBI_MALLOC
#pragma push_macro("STBI_MAX_DIMENSIONS")
#undef STBI_MAX_DIMENSIONS
#pragma push_macro("STBI_MINGW_ENABLE_SSE2")
#undef STBI_MINGW_ENABLE_SSE2
#pragma push_macro("STBI_NEON")
#undef STBI_NEON
#pragma push_macro("STBI_NO_BMP")
#undef STBI_NO_BMP
#pragma push_macro("STBI_NO_FAILURE_STRINGS")
#undef STBI_NO_FAILURE_STRINGS
#pragma push_macro("STBI_NO_GIF")
#undef STBI_NO_GIF
#pragma push_macro("STBI_NO_HDR")
#undef STBI_NO_HDR
#pragma push_macro("STBI_NO_JPEG")
#undef STBI_NO_JPEG
#pragma push_macro("STBI_NO_LINEAR")
#undef STBI_NO_LINEAR
#pragma push_macro("STBI_NO_PIC")
#undef STBI_NO_PIC
#pragma push_macro("STBI_NO_PNG")
#undef STBI_NO_PNG
#pragma push_macro("STBI_NO_PNM")
#undef STBI_NO_PNM
#pragma push_macro("STBI_NO_PSD")
#undef STBI_NO_PSD
#pragma push_macro("STBI_NO_SIMD")
#undef STBI_NO_SIMD
#pragma push_macro("STBI_NO_STDIO")
#undef STBI_NO_STDIO
#pragma push_macro("STBI_NO_TGA")
#undef STBI_NO_TGA
#pragma push_macro("STBI_NO_THREAD_LOCALS")
#undef STBI_NO_THREAD_LOCALS
#pragma push_macro("STBI_NO_ZLIB")
#undef STBI_NO_ZLIB
#pragma push_macro("STBI_ONLY_BMP")
#undef STBI_ONLY_BMP
#pragma push_macro("STBI_ONLY_GIF")
#undef STBI_ONLY_GIF
#pragma push_macro("STBI_ONLY_HDR")
#undef STBI_ONLY_HDR
#pragma push_macro("STBI_ONLY_JPEG")
#undef STBI_ONLY_JPEG
#pragma push_macro("STBI_ONLY_PIC")
#undef STBI_ONLY_PIC
#pragma push_macro("STBI_ONLY_PNG")
#undef STBI_ONLY_PNG
#pragma push_macro("STBI_ONLY_PNM")
#undef STBI_ONLY_PNM
#pragma push_macro("STBI_ONLY_PSD")
#undef STBI_ONLY_PSD
#pragma push_macro("STBI_ONLY_TGA")
#undef STBI_ONLY_TGA
#pragma push_macro("STBI_REALLOC")
#undef STBI_REALLOC
#pragma push_macro("STBI_REALLOC_SIZED")
#undef STBI_REALLOC_SIZED
#pragma push_macro("STBI_SIMD_ALIGN")
#undef STBI_SIMD_ALIGN
#pragma push_macro("STBI_SSE2")
#undef STBI_SSE2
#pragma push_macro("STBI_SUPPORT_ZLIB")
#undef STBI_SUPPORT_ZLIB
#pragma push_macro("STBI_THREAD_LOCAL")
#undef STBI_THREAD_LOCAL
#pragma push_macro("STBI_VERSION")
#undef STBI_VERSION
#pragma push_macro("STBI_WINDOWS_UTF8")
#undef STBI_WINDOWS_UTF8
#pragma push_macro("STBI__X64_TARGET")
#undef STBI__X64_TARGET
#pragma push_macro("STBI__X86_TARGET")
#undef STBI__X86_TARGET
#pragma push_macro("STB_IMAGE_IMPLEMENTATION")
#undef STB_IMAGE_IMPLEMENTATION
#pragma push_macro("STB_IMAGE_STATIC")
#undef STB_IMAGE_STATIC

#include "ddpm/io/stb/forget.hpp"

// NOLINTNEXTLINE(bugprone-reserved-identifier): the name is stb's
#define stbi__unpremultiply_on_load_thread ddpm_stbi__unpremultiply_on_load_thread
#define stbi_convert_iphone_png_to_rgb ddpm_stbi_convert_iphone_png_to_rgb
#define stbi_convert_iphone_png_to_rgb_thread ddpm_stbi_convert_iphone_png_to_rgb_thread
#define stbi_convert_wchar_to_utf8 ddpm_stbi_convert_wchar_to_utf8
#define stbi_failure_reason ddpm_stbi_failure_reason
#define stbi_hdr_to_ldr_gamma ddpm_stbi_hdr_to_ldr_gamma
#define stbi_hdr_to_ldr_scale ddpm_stbi_hdr_to_ldr_scale
#define stbi_image_free ddpm_stbi_image_free
#define stbi_info ddpm_stbi_info
#define stbi_info_from_callbacks ddpm_stbi_info_from_callbacks
#define stbi_info_from_file ddpm_stbi_info_from_file
#define stbi_info_from_memory ddpm_stbi_info_from_memory
#define stbi_is_16_bit ddpm_stbi_is_16_bit
#define stbi_is_16_bit_from_callbacks ddpm_stbi_is_16_bit_from_callbacks
#define stbi_is_16_bit_from_file ddpm_stbi_is_16_bit_from_file
#define stbi_is_16_bit_from_memory ddpm_stbi_is_16_bit_from_memory
#define stbi_is_hdr ddpm_stbi_is_hdr
#define stbi_is_hdr_from_callbacks ddpm_stbi_is_hdr_from_callbacks
#define stbi_is_hdr_from_file ddpm_stbi_is_hdr_from_file
#define stbi_is_hdr_from_memory ddpm_stbi_is_hdr_from_memory
#define stbi_ldr_to_hdr_gamma ddpm_stbi_ldr_to_hdr_gamma
#define stbi_ldr_to_hdr_scale ddpm_stbi_ldr_to_hdr_scale
#define stbi_load ddpm_stbi_load
#define stbi_load_16 ddpm_stbi_load_16
#define stbi_load_16_from_callbacks ddpm_stbi_load_16_from_callbacks
#define stbi_load_16_from_memory ddpm_stbi_load_16_from_memory
#define stbi_load_from_callbacks ddpm_stbi_load_from_callbacks
#define stbi_load_from_file ddpm_stbi_load_from_file
#define stbi_load_from_file_16 ddpm_stbi_load_from_file_16
#define stbi_load_from_memory ddpm_stbi_load_from_memory
#define stbi_load_gif_from_memory ddpm_stbi_load_gif_from_memory
#define stbi_loadf ddpm_stbi_loadf
#define stbi_loadf_from_callbacks ddpm_stbi_loadf_from_callbacks
#define stbi_loadf_from_file ddpm_stbi_loadf_from_file
#define stbi_loadf_from_memory ddpm_stbi_loadf_from_memory
#define stbi_set_flip_vertically_on_load ddpm_stbi_set_flip_vertically_on_load
#define stbi_set_flip_vertically_on_load_thread ddpm_stbi_set_flip_vertically_on_load_thread
#define stbi_set_unpremultiply_on_load ddpm_stbi_set_unpremultiply_on_load
#define stbi_set_unpremultiply_on_load_thread ddpm_stbi_set_unpremultiply_on_load_thread
#define stbi_zlib_decode_buffer ddpm_stbi_zlib_decode_buffer
#define stbi_zlib_decode_malloc ddpm_stbi_zlib_decode_malloc
#define stbi_zlib_decode_malloc_guesssize ddpm_stbi_zlib_decode_malloc_guesssize
#define stbi_zlib_decode_malloc_guesssize_headerflag \
  ddpm_stbi_zlib_decode_malloc_guesssize_headerflag
#define stbi_zlib_decode_noheader_buffer ddpm_stbi_zlib_decode_noheader_buffer
#define stbi_zlib_decode_noheader_malloc ddpm_stbi_zlib_decode_noheader_malloc
