// What a network predicts, and how each kind follows from x_0.
//
// With alpha^2 = abar_t and sigma^2 = 1 - abar_t, x_t = alpha x_0 + sigma eps:
//
//   eps     = (x_t - alpha x_0) / sigma                        Ho et al. 2020, equation 4
//   v       = alpha eps - sigma x_0 = (alpha x_t - x_0) / sigma   Salimans & Ho 2022, section 4
//   x_{t-1} = mu~(x_t, x_0)                                     Ho et al. 2020, equation 7
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/shape.hpp"
#include "ddpm/diffusion/noise_level.hpp"

namespace ddpm::DDPM_ABI {

/// The posterior of a step that takes abar to abar_prev >= abar: one step of the table, or several
/// at once (equation 7 with alpha = abar / abar_prev).
struct Posterior {
  double abar, abar_prev;
  double beta;  ///< 1 - abar / abar_prev

  double variance() const { return beta * (1 - abar_prev) / (1 - abar); }
  double mean_of_x_0() const { return beta * std::sqrt(abar_prev) / (1 - abar); }
  double mean_of_x_t() const { return (1 - abar_prev) * std::sqrt(1 - beta) / (1 - abar); }
};

enum class Prediction {
  epsilon,  ///< the noise in x_t
  x_0,      ///< the clean image
  x_prev,   ///< the mean of x_{t-1} given x_t and x_0
  v,        ///< alpha eps - sigma x_0
};

namespace detail {

/// value * of_value + x_t * of_x_t.
struct AffineFactors {
  double of_value, of_x_t;
};

inline AffineFactors to_x_0(Prediction from, const NoiseLevel& level, const Posterior& posterior) {
  const double alpha = level.alpha(), sigma = level.sigma();
  switch (from) {
    case Prediction::epsilon:
      require(alpha > 0, "Scheduler: no signal is left at timestep ", level.t,
              ", the noise does not tell x_0; predict v or x_0 instead");
      return {-sigma / alpha, 1 / alpha};
    case Prediction::x_0: return {1, 0};
    case Prediction::x_prev:
      require(posterior.mean_of_x_0() > 0, "Scheduler: x_{t-1} does not tell x_0 at timestep ",
              level.t);
      return {1 / posterior.mean_of_x_0(), -posterior.mean_of_x_t() / posterior.mean_of_x_0()};
    case Prediction::v: return {-sigma, alpha};
  }
  return {1, 0};
}

inline AffineFactors from_x_0(Prediction to, const NoiseLevel& level, const Posterior& posterior) {
  const double alpha = level.alpha(), sigma = level.sigma();
  switch (to) {
    case Prediction::epsilon: return {-alpha / sigma, 1 / sigma};
    case Prediction::x_0: return {1, 0};
    case Prediction::x_prev: return {posterior.mean_of_x_0(), posterior.mean_of_x_t()};
    case Prediction::v: return {-1 / sigma, alpha / sigma};
  }
  return {1, 0};
}

}  // namespace detail

}  // namespace ddpm::DDPM_ABI
