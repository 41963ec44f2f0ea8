// How noisy a sample is: x_t = alpha x_0 + sigma noise, alpha^2 = abar, sigma^2 = 1 - abar.
//
// Solvers step between levels, which need not be whole timesteps: spacings by the ratio of noise to
// signal fall in between.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI {

struct NoiseLevel {
  double t;     ///< what the network is told; in [0, T - 1]
  double abar;  ///< in [0, 1]; 1 is a clean image

  /// The level of an image without noise, where most runs end.
  static NoiseLevel clean() { return {0, 1}; }
  bool is_clean() const { return abar == 1; }
  bool has_signal() const { return abar > 0; }

  double alpha() const { return std::sqrt(abar); }
  double sigma() const { return std::sqrt(1 - abar); }
  /// Noise over signal, the sigma of Karras et al. 2022; 0 for a clean image.
  double ratio() const { return std::sqrt((1 - abar) / abar); }
  /// log(alpha / sigma), half the log signal-to-noise ratio (Lu et al. 2022).
  double lambda() const { return 0.5 * std::log(abar / (1 - abar)); }
};

}  // namespace ddpm::DDPM_ABI
