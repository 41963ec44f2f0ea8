// Networks small enough for a derivative of every parameter.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "../support.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/nn/unet.hpp"

namespace test {

/// Replaces the parameters that start at zero, so that everything takes part.
template <class T, class Network>
void randomise(const Network& network) {
  std::uint64_t seed = 100;
  for (const auto& parameter : nn::parameters<T>(network)) {
    const auto noise = random_tensor<T>(parameter.shape(), ++seed);
    for (Index i = 0; i < noise.size(); ++i) parameter.value()[i] += T(0.1) * noise[i];
  }
}

inline const UNetConfig small_unet{.image = {.channels = 2},
                                   .channels = 4,
                                   .multipliers = {1, 2, 2},
                                   .blocks = 1,
                                   .groups = 2,
                                   .dropout = 0};

inline const TutorialUNetConfig small_tutorial{
    .image = {.channels = 2}, .levels = {4, 8, 8}, .heads = 2, .groups = 2};

}  // namespace test
