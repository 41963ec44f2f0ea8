// The residual block as one op, where that saves memory traffic: see nn/residual_block.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>

#include "ddpm/autograd/ops/norm_conv.hpp"

namespace ddpm::DDPM_ABI {

/// A 1x1 convolution; undefined: none.
template <class T>
struct Shortcut {
  Variable<T> w, bias;
};

#ifdef DDPM_AMX
namespace detail {

class RoundedResidualBlock {
 public:
  RoundedResidualBlock(const Variable<float>& x, const Variable<float>& skip,
                       const NormalisedConv<float>& first, const NormalisedConv<float>& second,
                       const Shortcut<float>& shortcut)
      : x_(x),
        skip_(skip),
        first_(first),
        second_(second),
        shortcut_(shortcut),
        conv1_(x, skip, first.w, first.geometry),
        window2_(kernels::conv_window(conv1_.y, second.w.shape(), second.geometry)) {}

  /// True if both convolutions keep the map's size and every map is of whole blocks.
  bool possible() const {
    const Index A = x_.dim(3), C = conv1_.seen[3], C_out = conv1_.y[3];
    const kernels::amx::PaddedLayout one(conv1_.window), two(window2_);
    return !first_.geometry.enlarges() && !second_.geometry.enlarges() &&
           conv1_.rounds(A, first_.norm.groups, C_out) && kernels::can_turn(window2_) &&
           kernels::conv2d_shape(conv1_.y, second_.w.shape(), second_.geometry) == conv1_.y &&
           one.rows == two.rows && one.pitch == two.pitch && one.before == two.before &&
           one.behind == two.behind && one.OH == one.H && one.OW == one.W &&
           second_.norm.activation == Activation::silu &&
           kernels::amx::can_normalise_map(C_out, second_.norm.groups) && first_.bias.defined() &&
           second_.bias.defined() &&
           (shortcut_.w.defined()
                ? shortcut_.bias.defined() && A % kernels::amx::block_channels == 0
                : !skip_.defined() && C == C_out);
  }

  Tensor<float> result() const {
    const Tensor<float> y(conv1_.y), bias = second_.bias.value().clone();
    check(y);
    std::vector<kernels::amx::Term> terms{{window2_, hidden_map(), tiles(second_.w, {})}};
    if (shortcut_.w.defined()) {
      const Index A = x_.dim(3);
      terms.emplace_back(kernels::amx::BlockedMap(window2_, x_.value()),
                         tiles(shortcut_.w, Rows{0, A}));
      if (skip_.defined())
        terms.emplace_back(kernels::amx::BlockedMap(window2_, skip_.value()),
                           tiles(shortcut_.w, Rows{A, skip_.dim(3)}));
      kernels::add<float>(bias, shortcut_.bias.value(), bias);
    }
    const kernels::Epilogue<float> epilogue{
        bias, shortcut_.w.defined() ? nullptr : x_.value().data(), y.data()};
    kernels::amx::convolve(terms, kernels::amx::ToFloats{epilogue, y.dim(3)});
    return y;
  }

 private:
  struct Rows {
    Index first, count;
  };

  void check(const Tensor<float>& y) const {
    using kernels::detail::check_conv_operands;
    check_conv_operands<float>(conv1_.seen, first_.w.value(), first_.bias.value(), {}, y,
                               first_.geometry);
    check_conv_operands<float>(conv1_.y, second_.w.value(), second_.bias.value(), {}, y,
                               second_.geometry);
    require_shape("residual_block: second bias", second_.bias.shape(), {y.dim(3)});
    require_shape("residual_block: second gamma", second_.norm.gamma.shape(), {y.dim(3)});
    require_shape("residual_block: second beta", second_.norm.beta.shape(), {y.dim(3)});
    if (!shortcut_.w.defined()) return;
    require_shape("residual_block: shortcut", shortcut_.w.shape(),
                  {1, 1, conv1_.seen[3], y.dim(3)});
    require_shape("residual_block: bias of the shortcut", shortcut_.bias.shape(), {y.dim(3)});
  }

  /// silu(norm2(conv1(silu(norm1([x | skip])))))
  kernels::amx::BlockedMap hidden_map() const {
    const Normalisation<float>& norm2 = second_.norm;
    const auto hidden = norm_conv_map(conv1_, x_, skip_, first_);
    kernels::amx::normalise_map(hidden, norm2.gamma.value(), norm2.beta.value(), norm2.eps,
                                norm2.groups);
    return hidden;
  }

  /// Of all terms of w, or of some.
  static kernels::amx::TileWeights tiles(const Variable<float>& w, std::optional<Rows> rows) {
    reads_weights(w);
    View<const float> view = w.value();
    if (rows) {
      const Index C_out = w.shape().back();
      view = {view.data + rows->first * C_out, {1, 1, rows->count, C_out}};
    }
    return kernels::amx::fixed_or_fresh(view);
  }

  const Variable<float>&x_, &skip_;
  const NormalisedConv<float>&first_, &second_;
  const Shortcut<float>& shortcut_;
  NormConv conv1_;
  kernels::Window window2_;
};

}  // namespace detail
#endif

/// y = conv2(silu(norm2(conv1(silu(norm1([x | skip])))))) + shortcut([x | skip]), or + x if there
/// is none: without gradients, in bfloat16 on AMX, with a hidden map in bfloat16. Undefined where
/// that cannot be; the ops one by one then give it. Throws PreconditionError as they do.
template <class T>
Variable<T> rounded_residual_block([[maybe_unused]] const Variable<T>& x,
                                   [[maybe_unused]] const Variable<T>& skip,
                                   [[maybe_unused]] const NormalisedConv<T>& first,
                                   [[maybe_unused]] const NormalisedConv<T>& second,
                                   [[maybe_unused]] const Shortcut<T>& shortcut) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (!grad_enabled() && matmul_precision() == Precision::bfloat16 && x.shape().rank() == 4) {
      const detail::RoundedResidualBlock block(x, skip, first, second, shortcut);
      if (block.possible()) return block.result();
    }
#endif
  return {};
}

}  // namespace ddpm::DDPM_ABI
