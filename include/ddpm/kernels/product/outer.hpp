// What an outer product whose rows are gathered through pointers consists of, and how it is cut;
// see gather_outer.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/function_ref.hpp"
#include "ddpm/kernels/product/pack.hpp"

namespace ddpm::DDPM_ABI::kernels {

template <class T>
struct GatherOuter {
  Index terms, taps;  ///< terms p; taps of `source`
  Index rows;         ///< length of source(tap, p)
  Matrix<const T> b;  ///< (terms, columns)
};

/// Terms between two visits to memory: a packed chunk of b then fills half a first-level cache.
template <class U>
inline constexpr Index outer_chunk = 128 * terms_of_unit<U>;

/// locate(first, count, source) fills source (taps, outer_chunk) with the pointers of terms
/// [first, first + count).
template <class T>
using LocateOuter = FunctionRef<void(Index first, Index count, const T** source)>;

}  // namespace ddpm::DDPM_ABI::kernels
