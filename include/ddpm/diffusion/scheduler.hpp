// Scheduler<T>: the tables of the forward process and the closed formulas of Ho, Jain, Abbeel 2020.
//
//   q(x_t | x_0)          = N(sqrt(abar_t) x_0, (1 - abar_t) I)                    eq. 4
//   q(x_{t-1} | x_t, x_0) = N(mu~(x_t, x_0), beta~_t I)                            eq. 6, 7
//     mu~ = beta_t sqrt(abar_{t-1}) / (1 - abar_t) x_0
//           + (1 - abar_{t-1}) sqrt(alpha_t) / (1 - abar_t) x_t
//     beta~_t = beta_t (1 - abar_{t-1}) / (1 - abar_t)
//   p(x_{t-1} | x_t)      = N(mu~(x_t, x_0(x_t, eps)), sigma_t^2 I)                eq. 11, 15
//
// t counts from 0: t = 0 is diffused by one step, and abar_{-1} = 1. Tables are in double, used in
// T. No network and no graph here.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "ddpm/core/elementwise.hpp"
#include "ddpm/diffusion/beta_schedule.hpp"

namespace ddpm::inline DDPM_ABI {

/// sigma_t^2 of the reverse step (Ho et al. 2020, section 3.2).
enum class Variance {
  fixed_small,  ///< beta~_t, the posterior's; right for x_0 a point
  fixed_large,  ///< beta_t; right for x_0 standard normal
};

struct SchedulerConfig {
  Index timesteps = 1000;    ///< T
  double beta_start = 1e-4;  ///< in (0, 1)
  double beta_end = 0.02;    ///< in (0, 1)
  Variance variance = Variance::fixed_small;
  bool clip_sample = true;  ///< clip the predicted x_0 to [-1, 1] in step()

  /// Names every field once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    visit("timesteps", self.timesteps);
    visit("beta_start", self.beta_start);
    visit("beta_end", self.beta_end);
    visit("variance", self.variance);
    visit("clip_sample", self.clip_sample);
  }
};

template <class T>
class Scheduler {
 public:
  /// What step() returns; both shaped as x_t.
  struct Step {
    Tensor<T> prev_sample;           ///< x_{t-1}
    Tensor<T> pred_original_sample;  ///< the x_0 that it was computed from, clipped if asked for
  };

  /// Throws PreconditionError if the configuration is out of range.
  explicit Scheduler(const SchedulerConfig& config = {})
      : config_(config),
        betas_(linear_betas(config.timesteps, config.beta_start, config.beta_end)),
        alphas_cumprod_(betas_.size()) {
    double product = 1;
    for (std::size_t t = 0; t < betas_.size(); ++t) alphas_cumprod_[t] = product *= 1 - betas_[t];
  }

  const SchedulerConfig& config() const { return config_; }
  Index timesteps() const { return static_cast<Index>(betas_.size()); }
  const std::vector<double>& betas() const { return betas_; }
  const std::vector<double>& alphas_cumprod() const { return alphas_cumprod_; }

  /// abar_t for 0 <= t < T, and 1 for t = -1.
  double alpha_cumprod(Index t) const {
    return t < 0 ? 1.0 : alphas_cumprod_[static_cast<std::size_t>(t)];
  }

  /// beta~_t (equation 7); 0 at t = 0. Throws PreconditionError if t is out of range.
  double posterior_variance(Index t) const {
    return beta(t) * (1 - alpha_cumprod(t - 1)) / (1 - alpha_cumprod(t));
  }

  /// sigma_t^2 of the reverse step; 0 at t = 0, where no noise is added.
  /// Throws PreconditionError if t is out of range.
  double variance(Index t) const {
    if (t == 0) return 0;
    return config_.variance == Variance::fixed_small ? posterior_variance(t) : beta(t);
  }

  /// log sigma_t^2, finite at t = 0 too: there it is the posterior's at t = 1.
  /// Throws PreconditionError if t is out of range.
  double log_variance(Index t) const {
    if (t > 0) return std::log(variance(t));
    return std::log(timesteps() > 1 ? posterior_variance(1) : beta(0));
  }

  /// Factors of x_0 and x_t in mu~ (equation 7).
  struct PosteriorMean {
    double of_x_0, of_x_t;
  };
  /// Throws PreconditionError if t is out of range.
  PosteriorMean posterior_mean(Index t) const {
    const double b = beta(t), abar = alpha_cumprod(t), abar_prev = alpha_cumprod(t - 1);
    return {b * std::sqrt(abar_prev) / (1 - abar), (1 - abar_prev) * std::sqrt(1 - b) / (1 - abar)};
  }

  /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (equation 4), each sample at its own t.
  ///   x_0, noise  (N, ...), any shape;  t  N timesteps in [0, T)
  /// Throws PreconditionError if shapes disagree or a t is out of range.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise,
                      std::span<const Index> t) const {
    require_shape("add_noise: noise", noise.shape(), x_0.shape());
    require(x_0.shape().rank() > 0 && x_0.dim(0) == static_cast<Index>(t.size()),
            "add_noise: ", t.size(), " timesteps for x_0 ", x_0.shape());
    Tensor<T> x_t(x_0.shape());
    for (Index n = 0; n < x_0.dim(0); ++n)
      mix(signal_and_noise(t[static_cast<std::size_t>(n)]), x_0.slice(n, 1), noise.slice(n, 1),
          x_t.slice(n, 1));
    return x_t;
  }

  /// The same with one t for all samples.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise, Index t) const {
    require_shape("add_noise: noise", noise.shape(), x_0.shape());
    Tensor<T> x_t(x_0.shape());
    mix(signal_and_noise(t), x_0, noise, x_t);
    return x_t;
  }

  /// x_0 = x_t / sqrt(abar_t) - sqrt(1 / abar_t - 1) eps, not clipped (equation 4 solved for x_0).
  /// Throws PreconditionError if shapes disagree or t is out of range.
  Tensor<T> predict_x_0(const Tensor<T>& eps, Index t, const Tensor<T>& x_t) const {
    require_shape("predict_x_0: eps", eps.shape(), x_t.shape());
    check_timestep(t);
    Tensor<T> x_0(x_t.shape());
    const double abar = alpha_cumprod(t);
    mix({std::sqrt(1 / abar), -std::sqrt(1 / abar - 1)}, x_t, eps, x_0);
    return x_0;
  }

  /// One reverse step (algorithm 2, line 4): x_{t-1} = mu~(x_t, x_0) + sigma_t z.
  ///   eps, x_t  one shape; eps is the network's prediction at t, for all samples the same t
  ///   z         standard normal noise, shaped as x_t; not looked at for t = 0, may be empty there
  /// Throws PreconditionError if shapes disagree or t is out of range.
  Step step(const Tensor<T>& eps, Index t, const Tensor<T>& x_t, const Tensor<T>& z) const {
    Tensor<T> x_0 = predict_x_0(eps, t, x_t);
    if (config_.clip_sample) {
      const auto clip = [](const auto& v) {
        using P = std::decay_t<decltype(v)>;
        return xsimd::min(xsimd::max(v, P(T(-1))), P(T(1)));
      };
      elementwise<T>(clip, x_0.view(), x_0);
    }
    Tensor<T> prev(x_t.shape());
    const PosteriorMean mean = posterior_mean(t);
    mix({mean.of_x_0, mean.of_x_t}, x_0, x_t, prev);
    if (t > 0) {
      require_shape("step: z", z.shape(), x_t.shape());
      mix({1, std::sqrt(variance(t))}, prev, z, prev);
    }
    return {prev, x_0};
  }

 private:
  struct Factors {
    double first, second;
  };

  void check_timestep(Index t) const {
    require(t >= 0 && t < timesteps(), "Scheduler: timestep ", t, ", expected 0 to ",
            timesteps() - 1);
  }

  double beta(Index t) const {
    check_timestep(t);
    return betas_[static_cast<std::size_t>(t)];
  }

  Factors signal_and_noise(Index t) const {
    check_timestep(t);
    const double abar = alpha_cumprod(t);
    return {std::sqrt(abar), std::sqrt(1 - abar)};
  }

  /// out = first a + second b; out may alias either.
  static void mix(Factors factors, View<const T> a, View<const T> b, View<T> out) {
    const T first = static_cast<T>(factors.first), second = static_cast<T>(factors.second);
    const auto combine = [=](const auto& u, const auto& v) { return u * first + v * second; };
    elementwise<T>(combine, out, a, b);
  }

  SchedulerConfig config_;
  std::vector<double> betas_, alphas_cumprod_;
};

}  // namespace ddpm::inline DDPM_ABI
