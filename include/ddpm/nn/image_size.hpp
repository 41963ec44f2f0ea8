// The images a network is made for.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

/// Size of the images that sampling makes, in pixels. A network takes any size that its levels can
/// halve.
struct ImageSize {
  Index height = 32, width = 32;
};

namespace nn {

/// Throws PreconditionError unless x is (N, H, W, channels), one timestep an image, and large
/// enough to be halved `halvings` times.
inline void check_input(const char* network, const Shape& x, std::size_t timesteps, Index channels,
                        std::size_t halvings) {
  require(x.rank() == 4 && x[3] == channels, network, ": x is ", x, ", expected (N, H, W, ",
          channels, ")");
  require(static_cast<Index>(timesteps) == x[0], network, ": ", timesteps, " timesteps for ", x[0],
          " images");
  const Index smallest = Index{1} << halvings;
  require(x[1] >= smallest && x[2] >= smallest, network, ": images of ", x[1], " x ", x[2],
          " are smaller than the network's reduction, ", smallest, " x ", smallest);
}

}  // namespace nn

}  // namespace ddpm::DDPM_ABI
