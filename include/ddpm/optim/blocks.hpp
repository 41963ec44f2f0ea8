// All parameters cut into blocks of values, so that small and large ones share the threads evenly.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <vector>

#include "ddpm/autograd/variable.hpp"
#include "ddpm/core/parallel.hpp"

namespace ddpm::DDPM_ABI::optim {

/// Values [first, first + count) of one parameter.
struct Block {
  std::size_t parameter;
  Index first, count;
};

template <class T>
PooledVector<Block> make_blocks(const std::vector<Variable<T>>& parameters) {
  constexpr Index size = 16384;  // four arrays of it fit the second-level cache
  PooledVector<Block> blocks;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    for (Index first = 0; first < parameters[i].shape().size(); first += size)
      blocks.push_back({i, first, std::min(size, parameters[i].shape().size() - first)});
  return blocks;
}

template <class F>
void for_each_block(const PooledVector<Block>& blocks, const F& f) {
  parallel_for(static_cast<Index>(blocks.size()),
               [&](Index i) { f(blocks[static_cast<std::size_t>(i)]); });
}

}  // namespace ddpm::DDPM_ABI::optim
