// The AVX-512 intrinsics, without what g++ 12 has to say about them: with optimisation it reports
// hundreds of uninitialised values inside its own header, wherever that is inlined. Included before
// anything that would bring the header in.
//
// SPDX-License-Identifier: MIT
#pragma once

#if defined(__AVX512F__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#endif
