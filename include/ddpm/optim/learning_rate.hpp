// Learning rate against the step: linear warm-up from 0 (Ho et al. 2020, appendix B), then constant
// or a half cosine down to 0 (Loshchilov & Hutter 2017, equation 5), which may begin anew, as
// theirs.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <numbers>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI::optim {

enum class Decay { none, cosine };

}  // namespace ddpm::DDPM_ABI::optim

namespace ddpm::DDPM_ABI {

template <>
inline constexpr auto enum_names<optim::Decay> = named<optim::Decay>("none", "cosine");

}  // namespace ddpm::DDPM_ABI

namespace ddpm::DDPM_ABI::optim {

struct LearningRate {
  double base = 2e-4;      ///< after the warm-up; finite, > 0
  Index warmup_steps = 0;  ///< step 0 has rate 0 if this is not 0
  Decay decay = Decay::none;
  Index total_steps = 1;  ///< length of the cosine, the warm-up included
  Index start = 0;        ///< step at which the cosine begins (anew), at least 0

  /// The rate of update `step`, counted from 0; with a cosine, of `start` or later.
  double at(Index step) const {
    const double s = static_cast<double>(step), warmup = static_cast<double>(warmup_steps);
    if (step < warmup_steps) return base * s / warmup;
    if (decay == Decay::none) return base;
    const double first = std::max(static_cast<double>(start), warmup);
    const double rest = std::max(1.0, static_cast<double>(start + total_steps) - first);
    return base * 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, (s - first) / rest)));
  }

  /// Throws PreconditionError that names the first field out of range.
  void validate() const {
    require(std::isfinite(base) && base > 0, "LearningRate: base is ", base,
            ", expected a finite positive number");
    require(warmup_steps >= 0, "LearningRate: warmup_steps is ", warmup_steps,
            ", must not be negative");
    require(total_steps >= 1, "LearningRate: total_steps is ", total_steps,
            ", expected at least 1");
    require(start >= 0, "LearningRate: start is ", start, ", must not be negative");
  }
};

}  // namespace ddpm::DDPM_ABI::optim
