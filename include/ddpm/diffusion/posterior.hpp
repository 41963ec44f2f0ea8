// The posterior of a step (Ho et al. 2020, equations 6 and 7), between any two noise levels:
//
//   q(x' | x, x_0) = N(mu~, beta~ I)     abar' >= abar,  beta = 1 - abar / abar'
//     mu~    = beta sqrt(abar') / (1 - abar) x_0 + (1 - abar') sqrt(1 - beta) / (1 - abar) x
//     beta~  = beta (1 - abar') / (1 - abar)
//
// One step of the table, or several at once: then it is that of the process which visits these
// levels only (Nichol & Dhariwal 2021, section 4).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/noise_level.hpp"

namespace ddpm::DDPM_ABI {

struct Posterior {
  double abar, abar_prev;  ///< of x and of x'
  double beta;             ///< 1 - abar / abar_prev

  static Posterior between(const NoiseLevel& from, const NoiseLevel& to) {
    return {from.abar, to.abar, 1 - from.abar / to.abar};
  }

  bool leads_to_clean() const { return abar_prev == 1; }
  double variance() const { return beta * (1 - abar_prev) / (1 - abar); }
  double mean_of_x_0() const { return beta * std::sqrt(abar_prev) / (1 - abar); }
  double mean_of_x_t() const { return (1 - abar_prev) * std::sqrt(1 - beta) / (1 - abar); }
};

}  // namespace ddpm::DDPM_ABI
