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

#include <span>

#include "ddpm/diffusion/beta_schedule.hpp"
#include "ddpm/diffusion/combine.hpp"
#include "ddpm/diffusion/prediction.hpp"
#include "ddpm/diffusion/threshold.hpp"

namespace ddpm::DDPM_ABI {

/// sigma_t^2 of the reverse step.
enum class Variance {
  fixed_small,    ///< beta~_t, the posterior's; right for x_0 a point (Ho et al. 2020, sec. 3.2)
  fixed_large,    ///< beta_t; right for x_0 standard normal
  learned,        ///< the network's second half of channels is log sigma_t^2
  learned_range,  ///< or v, between the logs of beta~_t (-1) and beta_t (1) (Nichol & Dhariwal
                  ///< 2021)
};

struct SchedulerConfig {
  Index timesteps = 1000;  ///< T
  BetaSchedule schedule = BetaSchedule::linear;
  double beta_start = 1e-4;  ///< in (0, 1)
  double beta_end = 0.02;    ///< in (0, 1)
  /// The range of linear, quadratic, constant and warm-up schedules is meant for 1000 steps. With
  /// true it is multiplied by 1000 / T, at most 0.999 a step, so that any T ends in as much noise;
  /// with false the betas are taken as they are, as diffusers does.
  bool scale_range = true;
  std::vector<double> betas = {};               ///< of a custom schedule, T of them, each in (0, 1]
  bool zero_terminal_snr = false;               ///< rescale, so that the last step leaves no signal
  Prediction prediction = Prediction::epsilon;  ///< what the network's output is
  Variance variance = Variance::fixed_small;
  bool clip_sample = true;    ///< clip the predicted x_0 to [-1, 1]
  bool thresholding = false;  ///< instead: clip to a quantile, and divide by it if it is above 1
  double threshold_quantile = 0.995;  ///< of |x_0| of each sample, in (0, 1]

  /// Names every field once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    visit("timesteps", self.timesteps);
    visit("schedule", self.schedule);
    visit("beta_start", self.beta_start);
    visit("beta_end", self.beta_end);
    visit("scale_range", self.scale_range);
    visit("betas", self.betas);
    visit("zero_terminal_snr", self.zero_terminal_snr);
    visit("prediction", self.prediction);
    visit("variance", self.variance);
    visit("clip_sample", self.clip_sample);
    visit("thresholding", self.thresholding);
    visit("threshold_quantile", self.threshold_quantile);
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

  /// Throws PreconditionError if the configuration is out of range, or abar does not fall.
  explicit Scheduler(const SchedulerConfig& config = {})
      : config_(config), betas_(betas_of(config)), alphas_cumprod_(betas_.size()) {
    require(config.threshold_quantile > 0 && config.threshold_quantile <= 1,
            "Scheduler: threshold_quantile is ", config.threshold_quantile, ", expected (0, 1]");
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

  const SchedulerConfig& config() const { return config_; }
  Index timesteps() const { return static_cast<Index>(betas_.size()); }
  const std::vector<double>& betas() const { return betas_; }
  const std::vector<double>& alphas_cumprod() const { return alphas_cumprod_; }

  /// abar_t for 0 <= t < T, and 1 for t = -1.
  double alpha_cumprod(Index t) const {
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

  /// The level at which the ratio of noise to signal is `ratio`; t is 0 or T - 1 beyond the table.
  NoiseLevel level_of_ratio(double ratio) const {
    const double abar = 1 / (1 + ratio * ratio);
    const auto above = std::find_if(alphas_cumprod_.begin(), alphas_cumprod_.end(),
                                    [&](double value) { return value <= abar; });
    if (above == alphas_cumprod_.begin()) return {0, abar};
    if (above == alphas_cumprod_.end()) return {static_cast<double>(timesteps() - 1), abar};
    const auto t = static_cast<Index>(above - alphas_cumprod_.begin());
    const double low = ratio_of(t - 1), high = ratio_of(t);
    const double part = std::isinf(high) ? 1 : (ratio - low) / (high - low);
    return {static_cast<double>(t - 1) + part, abar};
  }

  /// beta~_t (equation 7); 0 at t = 0. Throws PreconditionError if t is out of range.
  double posterior_variance(Index t) const { return posterior(t, t - 1).variance(); }

  /// The posterior of the step from t to prev_t, which is -1 for a clean image.
  /// Throws PreconditionError unless -1 <= prev_t < t < T.
  Posterior posterior(Index t, Index prev_t) const {
    check_timestep(t);
    require(prev_t >= -1 && prev_t < t, "Scheduler: a step from timestep ", t, " to ", prev_t,
            ", expected one before it, or -1");
    const double abar = alpha_cumprod(t), prev = alpha_cumprod(prev_t);
    return {abar, prev, prev_t == t - 1 ? beta(t) : 1 - abar / prev};
  }

  /// sigma_t^2 of the reverse step where it is fixed; 0 at t = 0, where no noise is added.
  /// Throws PreconditionError if t is out of range, or the variance is learned.
  double variance(Index t) const { return t == 0 ? 0 : fixed_variance(posterior(t, t - 1)); }

  /// log sigma_t^2, finite at t = 0 too: there it is the posterior's at t = 1.
  /// Throws PreconditionError as variance() does.
  double log_variance(Index t) const {
    return t > 0 ? std::log(variance(t)) : posterior_log_variance(t);
  }

  /// log beta~_t, at t = 0 that of t = 1. Throws PreconditionError if t is out of range.
  double posterior_log_variance(Index t) const {
    if (t > 0) return std::log(posterior_variance(t));
    return std::log(timesteps() > 1 ? posterior_variance(1) : beta(t));
  }

  /// Factors of x_0 and x_t in mu~ (equation 7).
  struct PosteriorMean {
    double of_x_0, of_x_t;
  };
  /// Throws PreconditionError if t is out of range.
  PosteriorMean posterior_mean(Index t) const {
    const Posterior p = posterior(t, t - 1);
    return {p.mean_of_x_0(), p.mean_of_x_t()};
  }

  /// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (equation 4), each sample at its own t.
  ///   x_0, noise  (N, ...), any shape;  t  N timesteps in [0, T)
  /// Throws PreconditionError if shapes disagree or a t is out of range.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise,
                      std::span<const Index> t) const {
    return mix_by_sample("add_noise: noise", x_0, noise, t, [this](Index at) {
      const NoiseLevel l = level_of(at);
      return Mix{l.alpha(), l.sigma()};
    });
  }

  /// The same with one t for all samples.
  Tensor<T> add_noise(const Tensor<T>& x_0, const Tensor<T>& noise, Index t) const {
    require_shape("add_noise: noise", noise.shape(), x_0.shape());
    const NoiseLevel at = level_of(t);
    return combine({at.alpha(), x_0}, {at.sigma(), noise});
  }

  /// What the network's output is compared with in training: noise, x_0, v or the posterior's mean,
  /// as the configuration's prediction says. Arguments and errors as in add_noise().
  Tensor<T> training_target(const Tensor<T>& x_0, const Tensor<T>& noise,
                            std::span<const Index> t) const {
    // In terms of x_0 and noise: x_t = alpha x_0 + sigma noise.
    return mix_by_sample("training_target: noise", x_0, noise, t, [this](Index at) {
      const detail::AffineFactors f =
          detail::from_x_0(config_.prediction, level_of(at), posterior(at, at - 1));
      const NoiseLevel l = level_of(at);
      if (config_.prediction == Prediction::epsilon) return Mix{0, 1};
      return Mix{f.of_value + f.of_x_t * l.alpha(), f.of_x_t * l.sigma()};
    });
  }

  /// Turns a prediction of one kind into another (see Prediction).
  ///   value, x_t  one shape;  t  in [0, T)
  /// Throws PreconditionError if shapes disagree, t is out of range, or no signal is left at t and
  /// the value does not tell x_0.
  Tensor<T> convert(const Tensor<T>& value, Prediction from, Prediction to, Index t,
                    const Tensor<T>& x_t) const {
    require_shape("convert: value", value.shape(), x_t.shape());
    if (from == to) return value;
    const Posterior p = posterior(t, t - 1);
    const auto first = detail::to_x_0(from, level_of(t), p);
    const auto then = detail::from_x_0(to, level_of(t), p);
    return combine({then.of_value * first.of_value, value},
                   {then.of_value * first.of_x_t + then.of_x_t, x_t});
  }

  /// x_0 from the network's output, as it is or clipped: see the configuration.
  /// Throws PreconditionError as convert() does.
  Tensor<T> predict_x_0(const Tensor<T>& output, Index t, const Tensor<T>& x_t) const {
    return convert(output, config_.prediction, Prediction::x_0, t, x_t);
  }

  struct Denoised {
    Tensor<T> x_0;      ///< clipped if the configuration says so
    Tensor<T> epsilon;  ///< of x_0 before clipping
  };
  /// What a solver at `level` needs from the network's output. Throws PreconditionError if shapes
  /// disagree; or for predictions of x_{t-1} between two timesteps.
  Denoised denoise(const Tensor<T>& output, const NoiseLevel& level, const Tensor<T>& x_t) const {
    const Prediction from = config_.prediction;
    const Tensor<T> value = first_channels(output, x_t.shape());
    Posterior p{level.abar, 1, 1 - level.abar};
    if (from == Prediction::x_prev) {
      const auto t = static_cast<Index>(level.t);
      require(static_cast<double>(t) == level.t, "Scheduler: a prediction of x_{t-1} at timestep ",
              level.t, " between two others");
      p = posterior(t, t - 1);
    }
    const detail::AffineFactors f = detail::to_x_0(from, level, p);
    Tensor<T> x_0 = combine({f.of_value, value}, {f.of_x_t, x_t});
    const double alpha = level.alpha(), sigma = level.sigma();
    Tensor<T> epsilon =
        from == Prediction::epsilon ? value : combine({1 / sigma, x_t}, {-alpha / sigma, x_0});
    clip(x_0);
    return {x_0, epsilon};
  }

  /// One reverse step (algorithm 2, line 4): x_{t-1} = mu~(x_t, x_0) + sigma_t z.
  ///   output  the network's prediction at t, shaped as x_t; of twice as many channels where the
  ///           variance is learned
  ///   x_t     (N, ...), for all samples the same t
  ///   z       standard normal noise, shaped as x_t; not looked at for t = 0, may be empty there
  /// Throws PreconditionError if shapes disagree or t is out of range.
  Step step(const Tensor<T>& output, Index t, const Tensor<T>& x_t, const Tensor<T>& z) const {
    return step(output, t, t - 1, x_t, z);
  }

  /// The same to an earlier timestep prev_t, or to a clean image, -1.
  Step step(const Tensor<T>& output, Index t, Index prev_t, const Tensor<T>& x_t,
            const Tensor<T>& z) const {
    return step(output, level_of(t), posterior(t, prev_t), x_t, z);
  }

  /// The same between any two levels.
  Step step(const Tensor<T>& output, const NoiseLevel& level, const Posterior& p,
            const Tensor<T>& x_t, const Tensor<T>& z) const {
    const Tensor<T> x_0 = denoise(output, level, x_t).x_0;
    const Tensor<T> mean = combine({p.mean_of_x_0(), x_0}, {p.mean_of_x_t(), x_t});
    if (p.abar_prev == 1) return {mean, x_0};
    require_shape("step: z", z.shape(), x_t.shape());
    if (!learns_variance()) return {combine({1, mean}, {std::sqrt(fixed_variance(p)), z}), x_0};
    const Tensor<T> log_variance = learned_log_variance(output, x_t.shape(), p);
    const auto add = [](const auto& m, const auto& l, const auto& noise) {
      using P = std::decay_t<decltype(m)>;
      return m + xsimd::exp(l * P(T(0.5))) * noise;
    };
    elementwise<T>(add, mean.view(), mean, log_variance, z);
    return {mean, x_0};
  }

  bool learns_variance() const {
    return config_.variance == Variance::learned || config_.variance == Variance::learned_range;
  }

  /// Where the variance is learned, log sigma_t^2 = offset + factor s with s the output's second
  /// half of channels.
  struct LogVariance {
    double offset, factor;
  };
  LogVariance log_variance_of(const Posterior& p) const {
    if (config_.variance == Variance::learned) return {0, 1};
    const double high = std::log(p.beta);
    const double low = p.abar_prev == 1 ? posterior_log_variance(0) : std::log(p.variance());
    return {(high + low) / 2, (high - low) / 2};
  }

  /// log sigma_t^2, shaped as x_t, from an output of twice its channels.
  Tensor<T> learned_log_variance(const Tensor<T>& output, const Shape& shape,
                                 const Posterior& p) const {
    Tensor<T> v = half_of_channels(output, shape, 1);
    if (config_.variance == Variance::learned) return v;
    const LogVariance l = log_variance_of(p);
    const auto between = [=](const auto& u) {
      using P = std::decay_t<decltype(u)>;
      return u * P(static_cast<T>(l.factor)) + P(static_cast<T>(l.offset));
    };
    elementwise<T>(between, v.view(), v);
    return v;
  }

 private:
  struct Mix {
    double first, second;
  };

  static Tensor<T> combine(const detail::Term<T>& a, const detail::Term<T>& b) {
    return detail::combine<T>(a, b);
  }

  static std::vector<double> betas_of(const SchedulerConfig& config) {
    if (config.schedule == BetaSchedule::custom) {
      require(std::ssize(config.betas) == config.timesteps && config.timesteps >= 1,
              "Scheduler: ", config.betas.size(), " custom betas for ", config.timesteps,
              " timesteps");
      return config.zero_terminal_snr ? rescale_zero_terminal_snr(config.betas) : config.betas;
    }
    auto betas = make_betas(config.schedule, config.timesteps, config.beta_start, config.beta_end);
    const bool has_range = config.schedule != BetaSchedule::jsd &&
                           config.schedule != BetaSchedule::cosine &&
                           config.schedule != BetaSchedule::sigmoid;
    if (has_range && config.scale_range)
      for (double& beta : betas)
        beta = std::min(beta * (1000.0 / static_cast<double>(config.timesteps)), 0.999);
    return config.zero_terminal_snr ? rescale_zero_terminal_snr(betas) : betas;
  }

  void check_timestep(Index t) const {
    require(t >= 0 && t < timesteps(), "Scheduler: timestep ", t, ", expected 0 to ",
            timesteps() - 1);
  }

  double beta(Index t) const {
    check_timestep(t);
    return betas_[static_cast<std::size_t>(t)];
  }

  NoiseLevel level_of(Index t) const {
    check_timestep(t);
    return {static_cast<double>(t), alpha_cumprod(t)};
  }

  double ratio_of(Index t) const { return NoiseLevel{0, alpha_cumprod(t)}.ratio(); }

  double fixed_variance(const Posterior& p) const {
    require(!learns_variance(),
            "Scheduler: the variance is learned, the network's output tells it");
    return config_.variance == Variance::fixed_small ? p.variance() : p.beta;
  }

  void clip(const Tensor<T>& x_0) const {
    if (config_.thresholding)
      detail::dynamic_threshold<T>(x_0, config_.threshold_quantile);
    else if (config_.clip_sample)
      detail::clip<T>(x_0, T(1));
  }

  /// Half `half` of the channels of output, which must be `shape` with twice as many.
  static Tensor<T> half_of_channels(const Tensor<T>& output, const Shape& shape, Index half) {
    const Index C = shape.back();
    require(shape.rank() == 4, "Scheduler: x_t is ", shape, ", expected (N, H, W, C)");
    require_shape("Scheduler: an output with a learned variance", output.shape(),
                  {shape[0], shape[1], shape[2], 2 * C});
    Tensor<T> part(shape);
    for (Index row = 0; row < part.size() / C; ++row)
      std::copy_n(output.data() + (2 * row + half) * C, C, part.data() + row * C);
    return part;
  }

  Tensor<T> first_channels(const Tensor<T>& output, const Shape& shape) const {
    if (learns_variance()) return half_of_channels(output, shape, 0);
    require_shape("Scheduler: the network's output", output.shape(), shape);
    return output;
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
  std::vector<double> betas_, alphas_cumprod_;
};

}  // namespace ddpm::DDPM_ABI
