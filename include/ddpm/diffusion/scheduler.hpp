// Scheduler<T>: the tables of the forward process and the closed formulas of Ho, Jain, Abbeel 2020.
//
//   q(x_t | x_0)          = N(sqrt(abar_t) x_0, (1 - abar_t) I)                    eq. 4
//   q(x_{t-1} | x_t, x_0) = N(mu~(x_t, x_0), beta~_t I)                            eq. 6, 7
//   p(x_{t-1} | x_t)      = N(mu~(x_t, x_0(x_t, eps)), sigma_t^2 I)                eq. 11, 15
//
// t counts from 0: t = 0 is diffused by one step, and abar_{-1} = 1. Tables are in double, used in
// T. No network and no graph here.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/diffusion/clip.hpp"
#include "ddpm/diffusion/combine.hpp"
#include "ddpm/diffusion/noise_schedule.hpp"

namespace ddpm::DDPM_ABI {

template <class T>
class Scheduler : public NoiseSchedule {
 public:
  /// What step() returns; both shaped as x_t.
  struct StepOutput {
    Tensor<T> prev_sample;           ///< x_{t-1}
    Tensor<T> pred_original_sample;  ///< the x_0 that it was computed from, clipped if asked for
  };
  struct Denoised {
    Tensor<T> x_0;      ///< clipped if the configuration says so
    Tensor<T> epsilon;  ///< of x_0 before clipping
  };

  /// Throws PreconditionError if the configuration is out of range, or abar does not fall.
  explicit Scheduler(const SchedulerConfig& config = {}) : NoiseSchedule(config), config_(config) {
    require(config.threshold_quantile > 0 && config.threshold_quantile <= 1,
            "Scheduler: threshold_quantile is ", config.threshold_quantile, ", expected (0, 1]");
  }

  const SchedulerConfig& config() const { return config_; }

  /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (equation 4), each sample at its own t.
  ///   x_0, noise  (N, ...), any shape;  t  N timesteps in [0, T)
  /// Throws PreconditionError if shapes disagree or a t is out of range.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise,
                      std::span<const Index> t) const {
    return mix_by_sample("add_noise: noise", x_0, noise, t, [this](Index at) {
      const NoiseLevel level = level_at(at);
      return Mix{level.alpha(), level.sigma()};
    });
  }

  /// The same with one t for all samples.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise, Index t) const {
    require_shape("add_noise: noise", noise.shape(), x_0.shape());
    const NoiseLevel level = level_at(t);
    return combine({level.alpha(), x_0}, {level.sigma(), noise});
  }

  /// What the network's output is compared with in training: noise, x_0, v or the posterior's mean,
  /// as the configuration's prediction says. Arguments and errors as in add_noise().
  Tensor<T> training_target(const Tensor<T>& x_0, const Tensor<T>& noise,
                            std::span<const Index> t) const {
    // In terms of x_0 and noise: x_t = alpha x_0 + sigma noise.
    return mix_by_sample("training_target: noise", x_0, noise, t, [this](Index at) {
      const NoiseLevel level = level_at(at);
      if (config_.prediction == Prediction::epsilon) return Mix{0, 1};
      const auto f = detail::from_x_0(config_.prediction, level, posterior(at, at - 1));
      return Mix{f.of_value + f.of_x_t * level.alpha(), f.of_x_t * level.sigma()};
    });
  }

  /// Turns a prediction of one kind into another (see Prediction).
  ///   value, x_t  one shape;  t  in [0, T)
  /// Throws PreconditionError if shapes disagree, t is out of range, or no signal is left at t and
  /// the value does not tell x_0.
  Tensor<T> convert(const Tensor<T>& value, Prediction from, Prediction to, Index t,
                    const Tensor<T>& x_t) const {
    require_shape("convert: value", value.shape(), x_t.shape());
    const NoiseLevel level = level_at(t);
    if (from == to) return value;
    const Posterior p = posterior(t, t - 1);
    const auto first = detail::to_x_0<T>(from, level, p);
    const auto then = detail::from_x_0(to, level, p);
    return combine({then.of_value * first.of_value, value},
                   {then.of_value * first.of_x_t + then.of_x_t, x_t});
  }

  /// What a solver at `level` needs from the network's output. Throws PreconditionError if shapes
  /// disagree; for predictions of x_{t-1} between two timesteps; or if x_0 or, at a clean image,
  /// the noise does not follow from the prediction.
  Denoised denoise(const Tensor<T>& output, const NoiseLevel& level, const Tensor<T>& x_t) const {
    const Prediction from = config_.prediction;
    const Tensor<T> value = prediction_of(output, x_t.shape());
    const auto f = detail::to_x_0<T>(from, level, posterior_of_prediction(level));
    const Tensor<T> x_0 = combine({f.of_value, value}, {f.of_x_t, x_t});
    const Tensor<T> epsilon = noise_of(value, x_0, level, x_t);
    detail::clip_x_0<T>(config_, x_0);
    return {x_0, epsilon};
  }

  /// One reverse step (algorithm 2, line 4): x_{t-1} = mu~(x_t, x_0) + sigma_t z.
  ///   output  the network's prediction at t, shaped as x_t; of twice as many channels where the
  ///           variance is learned
  ///   x_t     (N, ...), for all samples the same t
  ///   z       standard normal noise, shaped as x_t; not looked at for t = 0, may be empty there
  /// Throws PreconditionError if shapes disagree, t is out of range, or x_0 does not follow from
  /// the prediction at t (of noise where no signal is left, say).
  StepOutput step(const Tensor<T>& output, Index t, const Tensor<T>& x_t,
                  const Tensor<T>& z) const {
    return step(output, t, t - 1, x_t, z);
  }

  /// The same to an earlier timestep prev_t, or to a clean image, -1.
  StepOutput step(const Tensor<T>& output, Index t, Index prev_t, const Tensor<T>& x_t,
                  const Tensor<T>& z) const {
    return step(output, level_at(t), posterior(t, prev_t), x_t, z);
  }

  /// The same from any level, by the posterior of the step.
  StepOutput step(const Tensor<T>& output, const NoiseLevel& level, const Posterior& p,
                  const Tensor<T>& x_t, const Tensor<T>& z) const {
    const Tensor<T> x_0 = denoise(output, level, x_t).x_0;
    const Tensor<T> mean = combine({p.mean_of_x_0(), x_0}, {p.mean_of_x_t(), x_t});
    if (p.leads_to_clean()) return {mean, x_0};
    require_shape("step: z", z.shape(), x_t.shape());
    if (!learns_variance())
      return {combine({1, mean}, {std::sqrt(fixed_variance(config_.variance, p)), z}), x_0};
    const Tensor<T> log_variance = learned_log_variance(output, x_t.shape(), p);
    const auto add = [](const auto& m, const auto& l, const auto& noise) {
      using P = std::decay_t<decltype(m)>;
      return m + simd::exp(l * P(T(0.5))) * noise;
    };
    elementwise<T>(add, mean.view(), mean, log_variance, z);
    return {mean, x_0};
  }

  /// sigma_t^2 of the reverse step where it is fixed; 0 at t = 0, where no noise is added.
  /// Throws PreconditionError if t is out of range, or the variance is learned.
  double variance(Index t) const {
    const Posterior p = posterior(t, t - 1);
    return p.leads_to_clean() ? 0 : fixed_variance(config_.variance, p);
  }

  /// log sigma_t^2, finite at t = 0 too: there it is the posterior's at t = 1.
  /// Throws PreconditionError as variance() does.
  double log_variance(Index t) const {
    return t > 0 ? std::log(variance(t)) : posterior_log_variance(t);
  }

  bool learns_variance() const { return is_learned(config_.variance); }

  /// How the learned variance of a step follows from what the network tells.
  LogVariance log_variance_of(const Posterior& p) const {
    if (config_.variance == Variance::learned) return {0, 1};
    const double high = std::log(p.beta);
    const double low = p.leads_to_clean() ? posterior_log_variance(0) : std::log(p.variance());
    return {(high + low) / 2, (high - low) / 2};
  }

  /// log sigma_t^2, shaped as x_t, from an output of twice its channels.
  Tensor<T> learned_log_variance(const Tensor<T>& output, const Shape& shape,
                                 const Posterior& p) const {
    Tensor<T> told = detail::half_of_channels(output, shape, 1);
    if (config_.variance == Variance::learned) return told;
    const LogVariance l = log_variance_of(p);
    const auto between = [=](const auto& u) {
      using P = std::decay_t<decltype(u)>;
      return u * P(static_cast<T>(l.factor)) + P(static_cast<T>(l.offset));
    };
    elementwise<T>(between, told.view(), told);
    return told;
  }

 private:
  struct Mix {
    double first, second;
  };

  static Tensor<T> combine(const detail::Term<T>& a, const detail::Term<T>& b) {
    return detail::combine<T>(a, b);
  }

  /// The part of the network's output that is the prediction, shaped as x_t.
  Tensor<T> prediction_of(const Tensor<T>& output, const Shape& shape) const {
    if (learns_variance()) return detail::half_of_channels(output, shape, 0);
    require_shape("Scheduler: the network's output", output.shape(), shape);
    return output;
  }

  /// The noise in x_t. At a clean image only epsilon and v tell it.
  Tensor<T> noise_of(const Tensor<T>& value, const Tensor<T>& x_0, const NoiseLevel& level,
                     const Tensor<T>& x_t) const {
    const double alpha = level.alpha(), sigma = level.sigma();
    switch (config_.prediction) {
      case Prediction::epsilon: return value;
      case Prediction::v: return combine({sigma, x_t}, {alpha, value});
      case Prediction::x_0:
      case Prediction::x_prev: break;
    }
    require(sigma > 0, "Scheduler: at a clean image a prediction of ", name_of(config_.prediction),
            " does not tell the noise; predict epsilon or v instead");
    return combine({1 / sigma, x_t}, {-alpha / sigma, x_0});
  }

  /// The posterior whose mean a prediction of x_{t-1} is; of no matter to the other kinds.
  Posterior posterior_of_prediction(const NoiseLevel& level) const {
    if (config_.prediction != Prediction::x_prev)
      return Posterior::between(level, NoiseLevel::clean());
    const auto t = static_cast<Index>(level.t);
    require(static_cast<double>(t) == level.t, "Scheduler: a prediction of x_{t-1} at timestep ",
            level.t, " between two others");
    return posterior(t, t - 1);
  }

  /// a and b mixed by factors(t) for each sample.
  template <class Factors>
  Tensor<T> mix_by_sample(const char* what, const Tensor<T>& a, const Tensor<T>& b,
                          std::span<const Index> t, const Factors& factors) const {
    require_shape(what, b.shape(), a.shape());
    require(a.shape().rank() > 0 && a.dim(0) == static_cast<Index>(t.size()),
            "Scheduler: ", t.size(), " timesteps for x_0 ", a.shape());
    Tensor<T> mixed(a.shape());
    for (Index n = 0; n < a.dim(0); ++n) {
      const Mix f = factors(t[static_cast<std::size_t>(n)]);
      const T first = static_cast<T>(f.first), second = static_cast<T>(f.second);
      const auto mix = [=](const auto& u, const auto& v) { return u * first + v * second; };
      elementwise<T>(mix, mixed.slice(n, 1), a.slice(n, 1), b.slice(n, 1));
    }
    return mixed;
  }

  SchedulerConfig config_;
};

}  // namespace ddpm::DDPM_ABI
