// What a network must have to be trained.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <span>

#include "ddpm/core/random.hpp"
#include "ddpm/nn/module.hpp"

namespace ddpm::DDPM_ABI {

/// A copyable module whose copies share their parameters, with
///
///   network(x, t, labels, rng)    the prediction for images x (N, H, W, C) at N timesteps t,
///                                 shaped as x, or of twice the channels where it tells the
///                                 variance; N labels or none; rng is that of dropout, or null
///   network.classes()             how many classes it knows, 0: none
///   network.sample_shape(count)   the shape (count, H, W, C) of images that it is made for
///
/// and, where it takes images of several sizes, network.set_image_size(height, width), by which
/// training tells it theirs.
template <class N, class T>
concept TrainableNetwork = std::copyable<N> && nn::Module<N> &&
    requires(N& network, const Variable<T>& x, std::span<const double> t,
             std::span<const Index> labels, Rng* rng, Index count) {
  { network(x, t, labels, rng) } -> std::convertible_to<Variable<T>>;
  { network.classes() } -> std::convertible_to<Index>;
  { network.sample_shape(count) } -> std::convertible_to<Shape>;
};

}  // namespace ddpm::DDPM_ABI
