// NoiseSchedule: the tables of the forward process, and the noise levels on and between them.
//
//   beta_t, abar_t = prod_{s <= t} (1 - beta_s)      for 0 <= t < T, and abar_{-1} = 1
//
// t counts from 0: t = 0 is diffused by one step. All in double.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <vector>

#include "ddpm/diffusion/scheduler_config.hpp"

namespace ddpm::DDPM_ABI {

class NoiseSchedule {
 public:
  /// Throws PreconditionError if the configuration is out of range, or abar does not fall.
  explicit NoiseSchedule(const SchedulerConfig& config)
      : betas_(betas_of(config)), alphas_cumprod_(betas_.size()) {
    double product = 1;
    for (std::size_t t = 0; t < betas_.size(); ++t) {
      require(betas_[t] > 0 && betas_[t] <= 1, "Scheduler: beta of timestep ", t, " is ", betas_[t],
              ", expected (0, 1]");
      const double before = product;
      alphas_cumprod_[t] = product *= 1 - betas_[t];
      require(product < before && (product > 0 || t + 1 == betas_.size()),
              "Scheduler: alphas_cumprod of timestep ", t, " is ", product, " after ", before,
              ", expected to fall, and to stay above 0 before the last");
    }
  }

  Index timesteps() const { return static_cast<Index>(betas_.size()); }
  const std::vector<double>& betas() const { return betas_; }
  const std::vector<double>& alphas_cumprod() const { return alphas_cumprod_; }

  /// abar_t, and 1 for t = -1. Throws PreconditionError unless -1 <= t < T.
  double alpha_cumprod(Index t) const {
    require(t >= -1 && t < timesteps(), "Scheduler: timestep ", t, ", expected -1 to ",
            timesteps() - 1);
    return t < 0 ? 1.0 : alphas_cumprod_[static_cast<std::size_t>(t)];
  }

  /// The level at t, which may lie between two timesteps: the ratio of noise to signal is then
  /// linear in t. Throws PreconditionError unless 0 <= t <= T - 1.
  NoiseLevel level(double t) const {
    require(t >= 0 && t <= static_cast<double>(timesteps() - 1), "Scheduler: timestep ", t,
            ", expected 0 to ", timesteps() - 1);
    const auto below = static_cast<Index>(t);
    const double part = t - static_cast<double>(below);
    if (part == 0) return {t, alpha_cumprod(below)};
    const double ratio = (1 - part) * ratio_of(below) + part * ratio_of(below + 1);
    return {t, 1 / (1 + ratio * ratio)};
  }

  /// The same of a whole timestep.
  NoiseLevel level_at(Index t) const {
    require(t >= 0 && t < timesteps(), "Scheduler: timestep ", t, ", expected 0 to ",
            timesteps() - 1);
    return {static_cast<double>(t), alphas_cumprod_[static_cast<std::size_t>(t)]};
  }

  /// The level at which the ratio of noise to signal is `ratio`; t is 0 or T - 1 beyond the table.
  NoiseLevel level_of_ratio(double ratio) const {
    const double abar = 1 / (1 + ratio * ratio);
    const auto above = std::partition_point(alphas_cumprod_.begin(), alphas_cumprod_.end(),
                                            [&](double value) { return value > abar; });
    if (above == alphas_cumprod_.begin()) return {0, abar};
    if (above == alphas_cumprod_.end()) return {static_cast<double>(timesteps() - 1), abar};
    const auto t = static_cast<Index>(above - alphas_cumprod_.begin());
    const double low = ratio_of(t - 1), high = ratio_of(t);
    const double part = std::isinf(high) ? 1 : (ratio - low) / (high - low);
    return {static_cast<double>(t - 1) + part, abar};
  }

  /// The posterior of the step from t to prev_t, which is -1 for a clean image.
  /// Throws PreconditionError unless -1 <= prev_t < t < T.
  Posterior posterior(Index t, Index prev_t) const {
    const NoiseLevel now = level_at(t);
    require(prev_t >= -1 && prev_t < t, "Scheduler: a step from timestep ", t, " to ", prev_t,
            ", expected one before it, or -1");
    Posterior result = Posterior::between(now, {0, alpha_cumprod(prev_t)});
    if (prev_t == t - 1) result.beta = betas_[static_cast<std::size_t>(t)];  // as given, unrounded
    return result;
  }

  /// beta~_t (equation 7); 0 at t = 0. Throws PreconditionError if t is out of range.
  double posterior_variance(Index t) const { return posterior(t, t - 1).variance(); }

  /// log beta~_t, at t = 0 that of t = 1. Throws PreconditionError if t is out of range.
  double posterior_log_variance(Index t) const {
    if (t > 0) return std::log(posterior_variance(t));
    return std::log(timesteps() > 1 ? posterior_variance(1) : posterior(t, t - 1).beta);
  }

 private:
  static std::vector<double> betas_of(const SchedulerConfig& config) {
    if (config.schedule == BetaSchedule::custom) {
      require(std::ssize(config.betas) == config.timesteps && config.timesteps >= 1,
              "Scheduler: ", config.betas.size(), " custom betas for ", config.timesteps,
              " timesteps");
      return config.zero_terminal_snr ? rescale_zero_terminal_snr(config.betas) : config.betas;
    }
    auto betas = make_betas(config.schedule, config.timesteps, config.beta_start, config.beta_end);
    if (has_range(config.schedule) && config.scale_range)
      for (double& beta : betas)
        beta = std::min(beta * (1000.0 / static_cast<double>(config.timesteps)), 0.999);
    return config.zero_terminal_snr ? rescale_zero_terminal_snr(betas) : betas;
  }

  double ratio_of(Index t) const { return NoiseLevel{0, alpha_cumprod(t)}.ratio(); }

  std::vector<double> betas_, alphas_cumprod_;
};

}  // namespace ddpm::DDPM_ABI
