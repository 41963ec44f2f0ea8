// The attention block of the paper's U-Net: y = x + out(attention(qkv(norm(x)))), all 1x1.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/attention_block.hpp"
#include "ddpm/nn/layers.hpp"
#include "ddpm/nn/stage_options.hpp"

namespace ddpm::DDPM_ABI::nn {

template <class T>
struct AttentionBlock {
  GroupNorm<T> norm;
  Conv2d<T> qkv;  ///< channels [q | k | v], each head a run of channels
  Conv2d<T> out;  ///< starts at zero
  Index heads;

  /// Throws PreconditionError if groups or heads do not divide the channels.
  AttentionBlock(Index channels, const StageOptions& options, Rng& rng)
      : norm(channels, options.groups, options.norm_eps),
        qkv(Conv2d<T>::pointwise(channels, 3 * channels, rng)),
        out(Conv2d<T>::pointwise(channels, channels, rng, Init::zero)),
        heads(options.heads_of(channels)) {}

  /// (N, H, W, channels) to the same.
  Variable<T> operator()(const Variable<T>& x) const {
    const NormalisedConv<T> projection{norm.with(Activation::none), qkv.weight, qkv.bias,
                                       qkv.geometry};
    if (const auto y = rounded_attention_block(x, projection, heads, out.weight, out.bias);
        y.defined())
      return y;
    return out(attention(norm.before(qkv, x, Activation::none), heads), x);
  }

  static void members(auto& self, auto&& visit) {
    visit("norm", self.norm);
    visit("qkv", self.qkv);
    visit("out", self.out);
  }
};

}  // namespace ddpm::DDPM_ABI::nn
