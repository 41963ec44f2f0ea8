// What the samplers and losses take: anything that predicts the noise in x_t.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <span>

#include "ddpm/autograd/variable.hpp"

namespace ddpm::inline DDPM_ABI {

/// d(x, t) is the predicted noise, shaped as x (N, H, W, C); t holds N timesteps.
template <class D, class T>
concept Denoiser = requires(const D& d, const Variable<T>& x, std::span<const Index> t) {
  { d(x, t) } -> std::convertible_to<Variable<T>>;
};

/// A denoiser that also knows the shape of `count` images it is made for.
template <class D, class T>
concept ShapedDenoiser = Denoiser<D, T> && requires(const D& d, Index count) {
  { d.sample_shape(count) } -> std::convertible_to<Shape>;
};

}  // namespace ddpm::inline DDPM_ABI
