// One binary tree for every sum over the shards of a batch.
//
// Shard i takes shard i + 1 where i is even, then i + 2 where 4 divides i, then i + 4, and so on.
// A rank has a block of shards whose length is a power of two, so its sum is a node of the tree,
// and the sum over ranks goes on at distances of 1, 2, 4 ranks: the order of additions follows from
// the number of shards, never from the number of ranks.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <cstdint>

#include "ddpm/distributed/communicator.hpp"

namespace ddpm::DDPM_ABI::distributed {

/// The shards of a rank: blocks of the smallest power of two that is enough for all ranks. Where
/// their number is not that power times the number of ranks, the last ranks have fewer, or none.
inline Share shards_of(Index shards, Index rank, Index ranks) {
  const Index most = (shards + ranks - 1) / ranks;
  return block_of(shards, static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(most))),
                  rank);
}

/// How many ranks have shards.
inline Index ranks_at_work(Index shards, Index ranks) {
  const Index block = shards_of(shards, 0, ranks).count;
  return (shards + block - 1) / block;
}

/// Sums `count` items by the tree into item 0; add(i, j) adds item j to item i.
template <class Add>
void tree_sum(Index count, const Add& add) {
  for (Index distance = 1; distance < count; distance *= 2)
    for (Index i = 0; i + distance < count; i += 2 * distance) add(i, i + distance);
}

/// How many finished sums shard number `shard`, of `shards`, is added to as soon as it is there:
/// the last ones, the newest first. After the last shard one sum is left.
inline int sums_to_join(Index shard, Index shards) {
  const auto bits = static_cast<std::uint64_t>(shard);
  return shard + 1 == shards ? std::popcount(bits) : std::countr_one(bits);
}

}  // namespace ddpm::DDPM_ABI::distributed
