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

/// Runs `tasks` tasks that each write their place of d (size) from the terms of some chunks:
/// task(number, first chunk, last chunk, d). Chunks are split where there are fewer tasks than
/// wanted; the parts are added in index order.
template <class T>
void add_in_parts(Index tasks, Index chunks, Index wanted_tasks, Index size, T* d,
                  FunctionRef<void(Index, Index, Index, T*)> task) {
  const Index splits = std::clamp<Index>(wanted_tasks / tasks, 1, std::max<Index>(1, chunks / 2));
  Scratch<T> parts((splits - 1) * size);
  parallel_for(splits * tasks, [&](Index id) {
    const Index split = id / tasks;
    task(id % tasks, split * chunks / splits, (split + 1) * chunks / splits,
         split == 0 ? d : parts.data() + (split - 1) * size);
  });
  constexpr Index block = 4096;
  if (splits > 1)
    parallel_for((size + block - 1) / block, [&](Index id) {
      const Index first = id * block, count = std::min(block, size - first);
      for (Index split = 1; split < splits; ++split)
        simd::map([](auto sum, auto part) { return sum + part; }, count, d + first, d + first,
                  parts.data() + (split - 1) * size + first);
    });
}

}  // namespace ddpm::DDPM_ABI::kernels
