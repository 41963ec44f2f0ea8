// From a timestep to the vector that every residual block gets: sinusoidal embedding, dense,
// activation, dense, SiLU (Ho et al. 2020, appendix B). The last SiLU is that with which each
// block's projection begins; it is the same for all, so it stands here once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/activation.hpp"
#include "ddpm/autograd/ops/time_embedding.hpp"
#include "ddpm/nn/layers.hpp"

namespace ddpm::inline DDPM_ABI::nn {

/// The activation between the two dense layers: SiLU in the paper, GELU in the tutorial.
enum class TimeActivation { silu, gelu };

template <class T>
struct TimeMlp {
  Linear<T> linear1, linear2;
  TimeActivation activation;

  TimeMlp(Index channels, TimeActivation time_activation, Rng& rng)
      : linear1(channels, 4 * channels, rng),
        linear2(4 * channels, 4 * channels, rng),
        activation(time_activation) {}

  /// (N) timesteps to (N, 4 channels).
  Variable<T> operator()(std::span<const double> t) const {
    const Variable<T> h = linear1(time_embedding<T>(t, linear1.weight.dim(0)));
    return silu(linear2(activation == TimeActivation::silu ? silu(h) : gelu(h)));
  }

  static void members(auto& self, auto&& visit) {
    visit("linear1", self.linear1);
    visit("linear2", self.linear2);
  }
};

}  // namespace ddpm::inline DDPM_ABI::nn
