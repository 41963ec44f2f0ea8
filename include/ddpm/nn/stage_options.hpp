// The choices that all stages of a network share.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::nn {

struct StageOptions {
  Index time_channels;      ///< of the time embedding
  Index groups = 32;        ///< of every GroupNorm
  Index heads = 1;          ///< of attention
  Index head_channels = 0;  ///< of each head instead: wider stages have more heads; 0: not told
  double dropout = 0;       ///< rate in [0, 1)
  double norm_eps = 1e-6;   ///< added to the variance of every GroupNorm

  /// Throws PreconditionError unless the heads divide the channels of a stage.
  Index heads_of(Index channels) const {
    const Index count = head_channels > 0 ? channels / head_channels : heads;
    require(count >= 1 && channels % count == 0 &&
                (head_channels == 0 || channels % head_channels == 0),
            "AttentionBlock: ", channels, " channels do not split into ",
            head_channels > 0 ? message("heads of ", head_channels) : message(count, " heads"));
    return count;
  }
};

}  // namespace ddpm::DDPM_ABI::nn
