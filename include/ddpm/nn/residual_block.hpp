// The residual block of the paper's U-Net (Ho et al. 2020, appendix B):
//
//   h = conv1(silu(norm1(x))) + time(e),   y = shortcut(x) + conv2(dropout(silu(norm2(h))))
//
// The time term enters as conv1's bias, one row an image; the shortcut as conv2's residual. On the
// way up x is [x | skip], read where the two lie.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/autograd/ops/concat.hpp"
#include "ddpm/autograd/ops/dropout.hpp"
#include "ddpm/autograd/ops/residual_block.hpp"
#include "ddpm/nn/layers.hpp"
#include "ddpm/nn/stage_options.hpp"

namespace ddpm::DDPM_ABI::nn {

template <class T>
struct ResidualBlock {
  GroupNorm<T> norm1;
  Conv2d<T> conv1;
  Linear<T> time;
  GroupNorm<T> norm2;
  Conv2d<T> conv2;                    ///< starts at zero
  std::optional<Conv2d<T>> shortcut;  ///< 1x1, where channels change
  double dropout_rate;

  /// Throws PreconditionError unless the groups divide both channel counts.
  ResidualBlock(Index in, Index out, const StageOptions& options, Rng& rng)
      : norm1(in, options.groups, options.norm_eps),
        conv1(Conv2d<T>::same3x3(in, out, rng)),
        time(options.time_channels, out, rng),
        norm2(out, options.groups, options.norm_eps),
        conv2(Conv2d<T>::same3x3(out, out, rng, Init::zero)),
        dropout_rate(options.dropout) {
    if (in != out) shortcut = Conv2d<T>::pointwise(in, out, rng);
  }

  /// x, or [x | skip], (N, H, W, in), e (N, time_channels) to (N, H, W, out). Drops out if given a
  /// generator.
  Variable<T> operator()(const Variable<T>& x, const Variable<T>& e, Rng* rng,
                         const Variable<T>& skip = {}) const {
    const Variable<T> bias = add_row(time(e), conv1.bias);
    std::optional<DropoutChoice> drop;
    if (rng && dropout_rate > 0) drop.emplace(DropoutChoice{dropout_rate, rng->fork()});
    if (const Variable<T> y = rounded(x, bias, skip, drop); y.defined()) return y;
    const Variable<T> h = norm1.before(conv1, x, Activation::silu, skip, {}, bias);
    if (!drop) return norm2.before(conv2, h, Activation::silu, {}, residual(x, skip));
    return conv2(dropout(norm2(h, Activation::silu), drop->rate, drop->rng), residual(x, skip));
  }

  /// All of it at once, where that can be.
  Variable<T> rounded(const Variable<T>& x, const Variable<T>& bias, const Variable<T>& skip,
                      const std::optional<DropoutChoice>& drop) const {
    const auto one_by_one =
        shortcut ? Shortcut<T>{shortcut->weight, shortcut->bias} : Shortcut<T>();
    return rounded_residual_block<T>(
        x, skip, {norm1.with(Activation::silu), conv1.weight, bias, conv1.geometry},
        {norm2.with(Activation::silu), conv2.weight, conv2.bias, conv2.geometry}, one_by_one, drop);
  }

  Variable<T> residual(const Variable<T>& x, const Variable<T>& skip) const {
    if (!skip.defined()) return shortcut ? (*shortcut)(x) : x;
    return shortcut ? pointwise_conv2d(x, skip, shortcut->weight, shortcut->bias) : concat(x, skip);
  }

  static void members(auto& self, auto&& visit) {
    visit("norm1", self.norm1);
    visit("conv1", self.conv1);
    visit("time", self.time);
    visit("norm2", self.norm2);
    visit("conv2", self.conv2);
    visit("shortcut", self.shortcut);
  }
};

}  // namespace ddpm::DDPM_ABI::nn
