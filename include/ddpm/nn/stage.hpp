// What both networks are built of: a residual block, and attention where asked for.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/nn/attention_block.hpp"
#include "ddpm/nn/residual_block.hpp"

namespace ddpm::DDPM_ABI::nn {

template <class T>
struct Stage {
  ResidualBlock<T> block;
  std::optional<AttentionBlock<T>> attention;

  /// Throws PreconditionError if groups or heads do not divide the channels.
  Stage(Index in, Index out, bool attend, const StageOptions& options, Rng& rng)
      : block(in, out, options, rng) {
    if (attend) attention.emplace(out, options, rng);
  }

  /// x, or [x | skip], (N, H, W, in), e (N, time_channels) to (N, H, W, out). Drops out if given a
  /// generator.
  Variable<T> operator()(const Variable<T>& x, const Variable<T>& e, Rng* rng,
                         const Variable<T>& skip = {}) const {
    const Variable<T> h = block(x, e, rng, skip);
    return attention ? (*attention)(h) : h;
  }

  static void members(auto& self, auto&& visit) {
    visit("block", self.block);
    visit("attention", self.attention);
  }
};

}  // namespace ddpm::DDPM_ABI::nn
