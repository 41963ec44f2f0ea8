// Training losses, and the terms of the variational bound that they and the likelihood share.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/autograd/ops/concat.hpp"
#include "ddpm/autograd/ops/loss.hpp"
#include "ddpm/autograd/ops/variational.hpp"
#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/scheduler.hpp"

namespace ddpm::DDPM_ABI {

enum class Loss {
  mse,      ///< L_simple (Ho et al. 2020, equation 14), on what the scheduler's prediction names
  min_snr,  ///< the same, weighted by timestep (Hang et al. 2023, arXiv:2303.09556)
  kl,       ///< the variational bound (equation 5) in bits per dimension: T times the term of t
  hybrid,   ///< mse, and a thousandth of kl, only for the variance (Nichol & Dhariwal 2021, eq. 16)
};
template <>
inline constexpr auto enum_names<Loss> = named<Loss>("mse", "min_snr", "kl", "hybrid");

struct LossOptions {
  Loss loss = Loss::mse;
  double snr_gamma = 5;        ///< of min_snr: where the weight stops rising, > 0
  double hybrid_share = 1e-3;  ///< of kl in hybrid, at least 0
};

/// The weight of min_snr at a level: min(snr, gamma) for x_0, over snr for the noise, over snr + 1
/// for v. Throws PreconditionError for predictions of x_{t-1}, which the paper does not weigh.
inline double min_snr_weight(Prediction prediction, const NoiseLevel& level, double gamma) {
  const double snr = level.abar / (1 - level.abar), least = std::min(snr, gamma);
  switch (prediction) {
    case Prediction::x_0: return least;
    case Prediction::epsilon: return snr > 0 ? least / snr : 1;
    case Prediction::v: return least / (snr + 1);
    case Prediction::x_prev: break;
  }
  require(false, "min_snr_weight: no weight for predictions of x_{t-1}");
  return 0;
}

/// Throws PreconditionError if an option is out of range, or the loss does not go with the
/// scheduler: hybrid needs a learned variance, mse and min_snr would not train one, min_snr weighs
/// no predictions of x_{t-1}, the bound needs x_0 at every timestep.
template <class T>
void check_loss(const LossOptions& options, const Scheduler<T>& scheduler) {
  const bool learned = scheduler.learns_variance();
  const Prediction prediction = scheduler.config().prediction;
  require(options.snr_gamma > 0, "LossOptions: snr_gamma is ", options.snr_gamma,
          ", must be positive");
  require(options.hybrid_share >= 0, "LossOptions: hybrid_share is ", options.hybrid_share,
          ", must not be negative");
  require(options.loss == Loss::kl || learned == (options.loss == Loss::hybrid),
          "LossOptions: this loss ", learned ? "does not train" : "needs",
          " a learned variance; use ", learned ? "hybrid or kl" : "mse, min_snr or kl");
  require(options.loss != Loss::min_snr || prediction != Prediction::x_prev,
          "LossOptions: min_snr has no weight for predictions of x_{t-1}");
  const bool bound = options.loss == Loss::kl || options.loss == Loss::hybrid;
  if (bound) require_signal<T>(prediction, scheduler.level_at(scheduler.timesteps() - 1));
}

namespace detail {

/// The factors of the bound's term at t, for the scheduler's prediction and variance.
template <class T>
VariationalStep variational_step(const Scheduler<T>& scheduler, Index t) {
  const Posterior p = scheduler.posterior(t, t - 1);
  const AffineFactors x_0 = to_x_0<T>(scheduler.config().prediction, scheduler.level_at(t), p);
  const LogVariance l = scheduler.learns_variance() ? scheduler.log_variance_of(p)
                                                    : LogVariance{scheduler.log_variance(t), 0};
  return {.value_factor = x_0.of_value,
          .x_t_factor = x_0.of_x_t,
          .mean_of_x_0 = p.mean_of_x_0(),
          .mean_of_x_t = p.mean_of_x_t(),
          .log_variance_offset = l.offset,
          .log_variance_factor = l.factor,
          .true_log_variance = scheduler.posterior_log_variance(t),
          .decoder = t == 0};
}

}  // namespace detail

/// L_t of the variational bound in bits per dimension for each image, shape (N): at t = 0 the
/// decoder's, otherwise KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) (Ho et al. 2020, equation 5).
///   output    the network's, (N, H, W, C), or 2 C where the variance is learned
///   x_0, x_t  (N, H, W, C);  t  N timesteps
///   options   clip and mean_gradient
///   x_0_error (N) or empty: written, the mean squared error of the predicted x_0
/// Throws PreconditionError if shapes disagree or a t is out of range.
template <class T>
Variable<T> bound_terms(const Scheduler<T>& scheduler, const Variable<T>& output,
                        const Tensor<T>& x_0, const Tensor<T>& x_t, std::span<const Index> t,
                        VariationalOptions options = {}, View<T> x_0_error = {}) {
  PooledVector<VariationalStep> steps;
  for (const Index at : t) steps.push_back(detail::variational_step(scheduler, at));
  options.learned_variance = scheduler.learns_variance();
  const auto nats = variational_terms(output, x_0, x_t, std::move(steps), options, x_0_error);
  return static_cast<T>(1 / std::numbers::ln2) * nats;
}

/// The loss of each image, shape (N), before any averaging.
///   network     called as network(x_t, timesteps, labels, rng)
///   x_0, noise  (N, H, W, C); noise standard normal;  t  N timesteps
///   labels      N classes, or none
///   rng         of the network's dropout; null for none
/// Throws PreconditionError as check_loss() does, and if shapes disagree or a t is out of range.
template <class T, class Network>
Variable<T> training_losses(const Network& network, const Scheduler<T>& scheduler,
                            const Tensor<T>& x_0, const Tensor<T>& noise, std::span<const Index> t,
                            std::span<const Index> labels = {}, Rng* rng = nullptr,
                            const LossOptions& options = {}) {
  check_loss(options, scheduler);
  const bool learned = scheduler.learns_variance();
  const Tensor<T> x_t = scheduler.add_noise(x_0, noise, t);
  const PooledVector<double> times(t.begin(), t.end());
  const Variable<T> output = network(Variable<T>(x_t), times, labels, rng);
  const Index N = x_0.dim(0), C = x_0.shape().back();
  require(output.shape().back() == (learned ? 2 * C : C), "training_losses: the network gives ",
          output.shape().back(), " channels, expected ", learned ? 2 * C : C,
          learned ? ": the variance is learned" : ": the variance is not learned",
          " (learn_variance of the network, variance of the scheduler)");
  const T T_steps = static_cast<T>(scheduler.timesteps());
  if (options.loss == Loss::kl) return T_steps * bound_terms(scheduler, output, x_0, x_t, t);
  const Variable<T> prediction = learned ? first_channels(output, C) : output;
  const Variable<T> mse =
      mse_loss(prediction, Variable<T>(scheduler.training_target(x_0, noise, t)), N);
  if (options.loss == Loss::hybrid)
    return mse + static_cast<T>(options.hybrid_share) * T_steps *
                     bound_terms(scheduler, output, x_0, x_t, t, {.mean_gradient = false});
  if (options.loss == Loss::mse) return mse;
  Tensor<T> weights({N});
  for (Index n = 0; n < N; ++n)
    weights[n] = static_cast<T>(min_snr_weight(scheduler.config().prediction,
                                               scheduler.level_at(t[static_cast<std::size_t>(n)]),
                                               options.snr_gamma));
  return mse * Variable<T>(weights);
}

}  // namespace ddpm::DDPM_ABI
