// The variance of the reverse step, sigma_t^2 of p(x_{t-1} | x_t): fixed, or told by the network in
// a second half of channels.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/elementwise.hpp"
#include "ddpm/core/enum_names.hpp"
#include "ddpm/diffusion/posterior.hpp"

namespace ddpm::DDPM_ABI {

/// sigma_t^2 of the reverse step.
enum class Variance {
  fixed_small,    ///< beta~_t, the posterior's; right for x_0 a point (Ho et al. 2020, sec. 3.2)
  fixed_large,    ///< beta_t; right for x_0 standard normal
  learned,        ///< the network's second half of channels is log sigma_t^2
  learned_range,  ///< or v, between the logs of beta~_t (-1) and beta_t (1) (Nichol & Dhariwal
                  ///< 2021)
};
template <>
inline constexpr auto enum_names<Variance> = named<Variance>("fixed_small", "fixed_large",
                                                             "learned", "learned_range");

inline bool is_learned(Variance variance) {
  return variance == Variance::learned || variance == Variance::learned_range;
}

/// sigma^2 of a step. Throws PreconditionError if the variance is learned.
inline double fixed_variance(Variance variance, const Posterior& posterior) {
  require(!is_learned(variance),
          "Scheduler: the variance is learned, the network's output tells it");
  return variance == Variance::fixed_small ? posterior.variance() : posterior.beta;
}

/// log sigma_t^2 = offset + factor s, with s what the network tells, if it is learned.
struct LogVariance {
  double offset, factor;
};

namespace detail {

/// Half `half` of the channels of output, which must be `shape` with twice as many.
template <class T>
Tensor<T> half_of_channels(const Tensor<T>& output, const Shape& shape, Index half) {
  require(shape.rank() == 4, "Scheduler: x_t is ", shape, ", expected (N, H, W, C)");
  const Index C = shape.back();
  require_shape("Scheduler: an output with a learned variance", output.shape(),
                {shape[0], shape[1], shape[2], 2 * C});
  Tensor<T> part(shape);
  for (Index row = 0; row < part.size() / C; ++row)
    std::copy_n(output.data() + (2 * row + half) * C, C, part.data() + row * C);
  return part;
}

}  // namespace detail

}  // namespace ddpm::DDPM_ABI
