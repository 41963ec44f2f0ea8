// From 8-bit pixels to tensors.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::data {

/// x / 127.5 - 1, in [-1, 1] (Ho et al. 2020, section 3.3).
template <class T>
T from_byte(std::uint8_t pixel) {
  return static_cast<T>(pixel) / T(127.5) - T(1);
}

/// Images and the class of each.
template <class T>
struct LabelledImages {
  Tensor<T> images;           ///< (N, H, W, C) in [-1, 1]
  std::vector<Index> labels;  ///< N, or none
};

}  // namespace ddpm::DDPM_ABI::data
