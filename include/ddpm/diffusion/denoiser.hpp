// What the samplers take: anything that tells x_0 from x_t, in one of the ways of Prediction.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <span>

#include "ddpm/autograd/variable.hpp"

namespace ddpm::DDPM_ABI {

/// d(x, t) is what the network predicts (see Prediction), shaped as x (N, H, W, C), or with twice
/// the channels where it tells the variance; t holds N timesteps, which may lie between whole ones.
template <class D, class T>
concept Denoiser = requires(const D& d, const Variable<T>& x, std::span<const double> t) {
  { d(x, t) } -> std::convertible_to<Variable<T>>;
};

/// A denoiser that also takes the classes of the N images, each in [0, d.classes()) or no_label;
/// with classes() 0 it takes none.
template <class D, class T>
concept ConditionalDenoiser = Denoiser<D, T> &&
    requires(const D& d, const Variable<T>& x, std::span<const double> t,
             std::span<const Index> labels) {
  { d(x, t, labels) } -> std::convertible_to<Variable<T>>;
  { d.classes() } -> std::convertible_to<Index>;
};

/// A denoiser that also knows the shape of `count` images it is made for.
template <class D, class T>
concept ShapedDenoiser = Denoiser<D, T> && requires(const D& d, Index count) {
  { d.sample_shape(count) } -> std::convertible_to<Shape>;
};

}  // namespace ddpm::DDPM_ABI
