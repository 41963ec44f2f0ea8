// What all samplers share. A run visits noise levels; a solver makes the step from each to the
// next.
//
// A solver is a small struct made anew for each run: the algorithm of its paper, with the paper's
// letters, its Options, and the history that it needs. Notation: alpha, sigma and lambda =
// log(alpha / sigma) as in noise_level.hpp; primed where the step leads to; D is the denoised
// image, x_0 as told by the network, or what the algorithm takes for it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <functional>
#include <span>
#include <vector>

#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/denoiser.hpp"
#include "ddpm/diffusion/scheduler.hpp"

namespace ddpm::DDPM_ABI {

/// The state of a sampler after a step.
template <class T>
struct SampleProgress {
  Index step;                      ///< steps made, from 1
  Index steps;                     ///< of the whole run
  double t;                        ///< the timestep it led away from
  Tensor<T> prev_sample;           ///< the sample it led to
  Tensor<T> pred_original_sample;  ///< x_0 as last seen
};

/// Called after every step of a run.
template <class T>
using OnSampleStep = std::function<void(const SampleProgress<T>&)>;

/// Gives standard normal numbers, shaped as the sample.
template <class T>
using NoiseSource = std::function<Tensor<T>()>;

/// Standard normal noise of `shape` (N, ...), sample n from streams[n].
/// Throws PreconditionError if there are not N streams.
template <class T>
Tensor<T> sample_noise(const Shape& shape, std::vector<Rng>& streams) {
  require(shape.rank() > 0 && shape[0] == static_cast<Index>(streams.size()),
          "sample_noise: ", streams.size(), " streams for shape ", shape);
  Tensor<T> noise(shape);
  parallel_for(shape[0], [&](Index n) {
    fill_normal<T>(noise.slice(n, 1), streams[static_cast<std::size_t>(n)]);
  });
  return noise;
}

/// A denoiser and the scheduler it was trained with, as solvers see them. Refers to both.
template <class T>
class DenoisingModel {
 public:
  const Scheduler<T>& scheduler;

  template <Denoiser<T> D>
  DenoisingModel(const D& denoiser, const Scheduler<T>& its_scheduler)
      : scheduler(its_scheduler),
        network_([&denoiser](const Tensor<T>& x, std::span<const double> t) {
          return Variable<T>(denoiser(Variable<T>(x), t)).value();
        }) {}

  /// What the network says of x at a level.
  Tensor<T> output(const Tensor<T>& x, const NoiseLevel& level) const {
    const std::vector<double> t(static_cast<std::size_t>(x.dim(0)), level.t);
    return network_(x, t);
  }

  /// x_0, clipped if the scheduler clips, and the noise.
  typename Scheduler<T>::Denoised denoise(const Tensor<T>& x, const NoiseLevel& level) const {
    return scheduler.denoise(output(x, level), level, x);
  }

 private:
  std::function<Tensor<T>(const Tensor<T>&, std::span<const double>)> network_;
};

/// One step of a run: number `number`, from 0, of those between the levels.
class Step {
 public:
  Step(std::span<const NoiseLevel> levels, std::size_t number) : levels_(levels), number_(number) {
    assert(number + 1 < levels.size());
  }

  const NoiseLevel& now() const { return levels_[number_]; }
  const NoiseLevel& next() const { return levels_[number_ + 1]; }
  bool is_first() const { return number_ == 0; }
  bool is_last() const { return left() == 1; }
  /// Steps still to make, this one included.
  Index left() const { return count() - static_cast<Index>(number_); }
  /// Steps of the whole run.
  Index count() const { return std::ssize(levels_) - 1; }

 private:
  std::span<const NoiseLevel> levels_;
  std::size_t number_;
};

/// Where a step led, and the x_0 that it saw.
template <class T>
struct SolverStep {
  Tensor<T> x, x_0;
};

/// What solve() takes. The constructor has checked the options; needs_signal says that the solver
/// divides by alpha, so that it cannot start from abar = 0.
template <class S, class T>
concept Solver = std::move_constructible<S> &&
    requires(S& solver, const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
             const NoiseSource<T>& noise) {
  { solver.step(model, step, x, noise) } -> std::same_as<SolverStep<T>>;
  { S::needs_signal } -> std::convertible_to<bool>;
};

namespace detail {

/// x_0 and noise put together at another level. With the noise of x itself this is the step that
/// all first-order solvers of the probability-flow ODE make (Song et al. 2021, DDIM, equation 12).
template <class T>
Tensor<T> transfer(const Tensor<T>& x_0, const Tensor<T>& epsilon, const NoiseLevel& to) {
  return combine<T>(Term<T>{to.alpha(), x_0}, Term<T>{to.sigma(), epsilon});
}

/// Only from x and its noise, in units of x / alpha: x' / alpha' = x / alpha + eps (r' - r) with r
/// the ratio of noise to signal.
template <class T>
Tensor<T> follow(const Tensor<T>& x, const Tensor<T>& epsilon, const NoiseLevel& from,
                 const NoiseLevel& to) {
  const double alpha = to.alpha();
  return combine<T>(Term<T>{alpha / from.alpha(), x},
                    Term<T>{alpha * (to.ratio() - from.ratio()), epsilon});
}

/// The exponential step of DPM-Solver++ (Lu et al. 2022, equation 9) for a D that is the sum of
/// the terms: x' = sigma'/sigma x - alpha' (e^-h - 1) D with h = lambda' - lambda.
template <class T, class... Terms>
Tensor<T> exponential_step(const Tensor<T>& x, const NoiseLevel& from, const NoiseLevel& to,
                           const Terms&... D) {
  const double h = to.lambda() - from.lambda(), gain = -to.alpha() * std::expm1(-h);
  return combine<T>(Term<T>{to.sigma() / from.sigma(), x}, Term<T>{gain * D.factor, D.tensor}...);
}

/// The same of second order, D = x_0 + (x_0 - other) / (2 r): the slope of x_0 is taken from an
/// evaluation at another level, r steps of length h before x_0's.
template <class T>
Tensor<T> second_order_step(const Tensor<T>& x, const Tensor<T>& x_0, const Tensor<T>& other,
                            double one_over_r, const NoiseLevel& from, const NoiseLevel& to) {
  return exponential_step<T>(x, from, to, Term<T>{1 + one_over_r / 2, x_0},
                             Term<T>{-one_over_r / 2, other});
}

/// Throws PreconditionError if at the first level no signal is left, or too little for T, and the
/// solver divides by it: up to three times in a step of several evaluations.
template <class T, class S>
void check_solver(const S&, const NoiseLevel& first) {
  static const double most = std::cbrt(static_cast<double>(std::numeric_limits<T>::max()));
  require(!S::needs_signal || first.alpha() * most >= 1,
          "solve: ", first.has_signal() ? "too little" : "no", " signal is left at timestep ",
          first.t, "; of the samplers, only ancestral and ddim start there");
}

/// Throws NonFiniteError that names the step if a value of x is infinite or not a number.
template <class T>
void check_finite(const Tensor<T>& x, Index step, Index steps, double t) {
  const auto zero_if_finite = [](const auto& v) { return v - v; };
  if (simd::sum(zero_if_finite, x.size(), std::as_const(x).data()) == T(0)) return;
  throw NonFiniteError(message("sampling: after step ", step, " of ", steps, ", from timestep ", t,
                               ", the sample is not finite"));
}

}  // namespace detail

/// Runs a solver over all levels, from x at levels[0].
/// Throws PreconditionError as the denoiser or the solver does, and for fewer than two levels;
/// NonFiniteError as soon as a sample is not finite.
template <class T, Solver<T> S, Denoiser<T> D>
Tensor<T> solve(S solver, const D& denoiser, const Scheduler<T>& scheduler,
                std::span<const NoiseLevel> levels, Tensor<T> x,
                const std::type_identity_t<NoiseSource<T>>& noise,
                const std::type_identity_t<OnSampleStep<T>>& on_step = {}) {
  require(levels.size() >= 2, "solve: ", levels.size(), " noise levels, expected at least 2");
  detail::check_solver<T>(solver, levels.front());
  const NoGrad no_grad;
  const DenoisingModel<T> model(denoiser, scheduler);
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const Step step(levels, i);
    const SolverStep<T> made = solver.step(model, step, x, noise);
    x = made.x;
    const Index number = static_cast<Index>(i) + 1;
    detail::check_finite(x, number, step.count(), step.now().t);
    if (on_step) on_step({number, step.count(), step.now().t, made.x, made.x_0});
  }
  return x;
}

}  // namespace ddpm::DDPM_ABI
