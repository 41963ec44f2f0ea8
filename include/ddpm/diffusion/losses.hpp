// Training losses.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/loss.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/scheduler.hpp"

namespace ddpm::inline DDPM_ABI {

/// L_simple = mean |target - network(x_t, t)|^2, the target being the noise (Ho et al. 2020,
/// equation 14) or what else the scheduler's prediction names.
///   x_0, noise  (N, H, W, C); noise standard normal;  t  N timesteps
///   rng         of the network's dropout; null for none
/// Throws PreconditionError if shapes disagree or a t is out of range.
template <class T, class Network>
Variable<T> simple_loss(const Network& network, const Scheduler<T>& scheduler, const Tensor<T>& x_0,
                        const Tensor<T>& noise, std::span<const Index> t, Rng* rng = nullptr) {
  const Variable<T> x_t(scheduler.add_noise(x_0, noise, t));
  const PooledVector<double> times(t.begin(), t.end());
  return mse_loss(network(x_t, times, rng), Variable<T>(scheduler.training_target(x_0, noise, t)));
}

}  // namespace ddpm::inline DDPM_ABI
