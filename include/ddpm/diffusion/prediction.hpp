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

#include <limits>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/diffusion/posterior.hpp"

namespace ddpm::DDPM_ABI {

enum class Prediction {
  epsilon,  ///< the noise in x_t
  x_0,      ///< the clean image
  x_prev,   ///< the mean of x_{t-1} given x_t and x_0
  v,        ///< alpha eps - sigma x_0
};
template <>
inline constexpr auto enum_names<Prediction> = named<Prediction>("epsilon", "x_0", "x_prev", "v");

/// The largest factor by which x_0 may follow from a prediction in numbers of type T: it leaves
/// room for values of a million.
template <class T>
inline constexpr double largest_factor = 1e-6 * static_cast<double>(std::numeric_limits<T>::max());

/// Throws PreconditionError if the prediction is the noise and at the level no signal is left, or
/// so little that 1 / alpha is out of T's range.
template <class T>
void require_signal(Prediction prediction, const NoiseLevel& level) {
  if (prediction != Prediction::epsilon) return;
  require(level.has_signal(), "Scheduler: no signal is left at timestep ", level.t,
          ", the noise does not tell x_0; predict v or x_0 instead");
  require(1 / level.alpha() <= largest_factor<T>, "Scheduler: at timestep ", level.t,
          " the signal is multiplied by ", level.alpha(),
          ", too little for numbers of this type to tell x_0 from the noise; predict v or x_0, or "
          "choose a schedule that leaves more signal");
}

namespace detail {

/// value * of_value + x_t * of_x_t.
struct AffineFactors {
  double of_value, of_x_t;
};

/// Throws PreconditionError if x_0 does not follow in numbers of type T.
template <class T>
AffineFactors to_x_0(Prediction from, const NoiseLevel& level, const Posterior& posterior) {
  const double alpha = level.alpha(), sigma = level.sigma();
  require_signal<T>(from, level);
  switch (from) {
    case Prediction::epsilon: return {-sigma / alpha, 1 / alpha};
    case Prediction::x_0: return {1, 0};
    case Prediction::x_prev:
      require(posterior.mean_of_x_0() * largest_factor<T> >= 1,
              "Scheduler: x_{t-1} does not tell x_0 at timestep ", level.t,
              ", where it holds too little signal; predict v or x_0 instead");
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
