// Which algorithm a convolution takes: a rule of shapes, never timed at run time.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>

#include "ddpm/kernels/window.hpp"

namespace ddpm::DDPM_ABI {

enum class ConvAlgorithm {
  automatic,  ///< Winograd's F(4x4, 3x3) where it pays, see kernels::winograd_pays()
  direct,     ///< always direct: about ten times smaller rounding errors, up to three times slower
};

namespace detail {
inline std::atomic<ConvAlgorithm> conv_algorithm{ConvAlgorithm::automatic};
}

/// Sets the algorithm of all convolutions of the process. Results differ by rounding alone.
inline void set_conv_algorithm(ConvAlgorithm algorithm) {
  detail::conv_algorithm.store(algorithm, std::memory_order_relaxed);
}
inline ConvAlgorithm conv_algorithm() {
  return detail::conv_algorithm.load(std::memory_order_relaxed);
}

namespace kernels {

/// True for 3x3 kernels of stride 1, 32 channels or more each way, and maps of 4x4 or more. Below
/// that the transforms and the tiles' overhang cost what the products save (bench_conv2d; Zen 4).
/// The batch has no say, so that an image's bits do not depend on it.
inline bool winograd_pays(const Window& g, Index C_in, Index C_out) {
  const Padding& pad = g.padding;
  const auto narrow = [](Index p) { return p <= 2; };  // the data gradient pads by 2 - p
  return conv_algorithm() == ConvAlgorithm::automatic && g.N > 0 && g.KH == 3 && g.KW == 3 &&
         g.stride == 1 && narrow(pad.top) && narrow(pad.bottom) && narrow(pad.left) &&
         narrow(pad.right) && std::min(C_in, C_out) >= 32 && std::min({g.H, g.W, g.OH, g.OW}) >= 4;
}

}  // namespace kernels

}  // namespace ddpm::DDPM_ABI
