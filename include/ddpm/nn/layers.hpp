// Layers: parameters with their initial values, and one op each.
//
// Initial weights as in the paper's code (Ho et al. 2020): uniform in +-sqrt(6 s / (fan_in +
// fan_out)) with s = 1, biases 0; s = 0 for layers that start their branch at nothing.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/linear.hpp"
#include "ddpm/autograd/ops/norm_conv.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/nn/module.hpp"

namespace ddpm::DDPM_ABI::nn {

/// How a layer's weights start.
enum class Init {
  variance_scaling,  ///< uniform, s = 1
  zero,
};

/// A weight of `shape`, whose last two extents are (in, out).
/// Throws PreconditionError if the shape is empty.
template <class T>
Variable<T> init_weight(const Shape& shape, Init init, Rng& rng) {
  require(shape.size() > 0, "init_weight: no elements in ", shape);
  Tensor<T> weight(shape, T(0));
  const Index in = shape[shape.rank() - 2], out = shape.back(), taps = shape.size() / (in * out);
  const double bound = std::sqrt(6.0 / static_cast<double>(taps * (in + out)));
  if (init == Init::variance_scaling) fill_uniform<T>(weight, -bound, bound, rng);
  return Variable<T>::parameter(weight);
}

template <class T>
Variable<T> constant_parameter(Index size, T value) {
  return Variable<T>::parameter(Tensor<T>({size}, value));
}

/// y = x weight + bias, (N, in) to (N, out).
template <class T>
struct Linear {
  Variable<T> weight;  ///< (in, out)
  Variable<T> bias;    ///< (out)

  Linear(Index in, Index out, Rng& rng)
      : weight(init_weight<T>({in, out}, Init::variance_scaling, rng)),
        bias(constant_parameter(out, T(0))) {}

  Variable<T> operator()(const Variable<T>& x) const { return linear(x, weight, bias); }

  static void members(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};

/// Convolution with a square kernel, (N, H, W, in) to (N, OH, OW, out).
template <class T>
struct Conv2d {
  Variable<T> weight;  ///< (kernel, kernel, in, out)
  Variable<T> bias;    ///< (out)
  ConvGeometry geometry;

  Conv2d(Index in, Index out, Index kernel, const ConvGeometry& conv_geometry, Rng& rng,
         Init init = Init::variance_scaling)
      : weight(init_weight<T>({kernel, kernel, in, out}, init, rng)),
        bias(constant_parameter(out, T(0))),
        geometry(conv_geometry) {}

  /// 3x3, stride 1, a border of one pixel: maps keep their size.
  static Conv2d same3x3(Index in, Index out, Rng& rng, Init init = Init::variance_scaling) {
    return Conv2d(in, out, 3, {1, Padding::same(1)}, rng, init);
  }
  static Conv2d pointwise(Index in, Index out, Rng& rng, Init init = Init::variance_scaling) {
    return Conv2d(in, out, 1, {}, rng, init);
  }

  /// conv(x) + bias + residual; the residual may be undefined.
  Variable<T> operator()(const Variable<T>& x, const Variable<T>& residual = {}) const {
    return conv2d(x, weight, bias, geometry, residual);
  }

  /// conv(x enlarged to height x width pixels by nearest neighbour) + bias.
  Variable<T> enlarged(const Variable<T>& x, Index height, Index width) const {
    return conv2d(x, weight, bias, {geometry.stride, geometry.padding, height, width});
  }

  static void members(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};

/// Transposed convolution 4x4 of stride 2, padding 1: maps double; odd sizes by request.
template <class T>
struct ConvTranspose2d {
  Variable<T> weight;  ///< (4, 4, in, out)
  Variable<T> bias;    ///< (out)

  ConvTranspose2d(Index in, Index out, Rng& rng)
      : weight(init_weight<T>({4, 4, in, out}, Init::variance_scaling, rng)),
        bias(constant_parameter(out, T(0))) {}

  Variable<T> operator()(const Variable<T>& x, Index height, Index width) const {
    return conv_transpose2d(x, weight, bias, {2, Padding::same(1)}, height, width);
  }

  static void members(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};

/// Group normalisation (Wu & He 2018); eps, added to the variance, is 1e-6 in the paper's code.
template <class T>
struct GroupNorm {
  Variable<T> gamma, beta;  ///< (channels)
  Index groups;
  T eps;

  /// Throws PreconditionError if the groups do not divide the channels.
  GroupNorm(Index channels, Index group_count, double norm_eps = 1e-6)
      : gamma(constant_parameter(channels, T(1))),
        beta(constant_parameter(channels, T(0))),
        groups(group_count),
        eps(static_cast<T>(norm_eps)) {
    require(group_count >= 1 && channels % group_count == 0, "GroupNorm: ", channels,
            " channels do not split into ", group_count, " groups");
  }

  /// Of x, or of the channels [x | skip].
  Variable<T> operator()(const Variable<T>& x, Activation activation = Activation::none,
                         const Variable<T>& skip = {}) const {
    return group_norm(x, gamma, beta, groups, eps, activation, skip);
  }

  Normalisation<T> with(Activation activation) const {
    return {gamma, beta, groups, eps, activation};
  }

  /// conv(norm(x or [x | skip])) + bias + residual. The convolution's own bias, if none is given.
  Variable<T> before(const Conv2d<T>& conv, const Variable<T>& x, Activation activation,
                     const Variable<T>& skip = {}, const Variable<T>& residual = {},
                     const Variable<T>& bias = {}) const {
    return norm_conv2d(x, skip, with(activation), conv.weight, bias.defined() ? bias : conv.bias,
                       conv.geometry, residual);
  }

  static void members(auto& self, auto&& visit) {
    visit("gamma", self.gamma);
    visit("beta", self.beta);
  }
};

}  // namespace ddpm::DDPM_ABI::nn
