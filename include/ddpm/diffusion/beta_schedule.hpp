// Beta schedules: the variance of the noise that each forward step adds (Ho et al. 2020, sec. 2).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ddpm/core/shape.hpp"

namespace ddpm::inline DDPM_ABI {

/// beta_t linear from beta_start to beta_end, both included (Ho et al. 2020, section 4).
/// Throws PreconditionError unless timesteps >= 1 and both ends are in (0, 1).
inline std::vector<double> linear_betas(Index timesteps, double beta_start, double beta_end) {
  require(timesteps >= 1 && timesteps <= 1'000'000, "linear_betas: ", timesteps,
          " timesteps, expected 1 to 1000000");
  require(beta_start > 0 && beta_start < 1 && beta_end > 0 && beta_end < 1, "linear_betas: from ",
          beta_start, " to ", beta_end, ", expected numbers in (0, 1)");
  std::vector<double> betas(static_cast<std::size_t>(timesteps), beta_start);
  for (std::size_t t = 1; t < betas.size(); ++t)
    betas[t] = beta_start + (beta_end - beta_start) * static_cast<double>(t) /
                                static_cast<double>(betas.size() - 1);
  return betas;
}

}  // namespace ddpm::inline DDPM_ABI
