// What all samplers share: a step leads from one noise level to the next.
//
//   solver.step(model, levels, i, x, noise)    from levels[i] to levels[i + 1]
//
// A solver is a small struct: the algorithm of its paper and the history it needs, made anew for
// each run; `needs_signal` says that it divides by alpha, so that it cannot start from abar = 0.
// Notation: alpha, sigma, lambda = log(alpha / sigma) as in noise_level.hpp; primed (or
// `next`) at the level the step leads to.
//
// SPDX-License-Identifier: MIT
#pragma once

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

/// A denoiser and the scheduler it was trained with, as solvers see them.
template <class T, Denoiser<T> D>
struct DenoisingModel {
  const D& denoiser;
  const Scheduler<T>& scheduler;

  /// What the network says of x at a level.
  Tensor<T> output(const Tensor<T>& x, const NoiseLevel& level) const {
    const std::vector<double> t(static_cast<std::size_t>(x.dim(0)), level.t);
    return Variable<T>(denoiser(Variable<T>(x), t)).value();
  }

  typename Scheduler<T>::Denoised denoise(const Tensor<T>& x, const NoiseLevel& level) const {
    return scheduler.denoise(output(x, level), level, x);
  }
};

/// Where a step led, and the x_0 that it saw.
template <class T>
struct SolverStep {
  Tensor<T> x, x_0;
};

namespace detail {

/// x_0 and noise put together at another level. With the noise of x itself this is the step that
/// all first-order solvers of the probability-flow ODE make (Song et al. 2021, DDIM, equation 12).
template <class T>
Tensor<T> transfer(const Tensor<T>& x_0, const Tensor<T>& epsilon, const NoiseLevel& to) {
  return combine<T>(Term<T>{to.alpha(), x_0}, Term<T>{to.sigma(), epsilon});
}

/// From x and its noise alone, in units of x / alpha: x' / alpha' = x / alpha + eps (r' - r) with r
/// the ratio of noise to signal.
template <class T>
Tensor<T> follow(const Tensor<T>& x, const Tensor<T>& epsilon, const NoiseLevel& from,
                 const NoiseLevel& to) {
  const double alpha = to.alpha();
  return combine<T>(Term<T>{alpha / from.alpha(), x},
                    Term<T>{alpha * (to.ratio() - from.ratio()), epsilon});
}

/// Throws PreconditionError if no signal is left at the first level and the solver needs some.
template <class Solver>
void check_solver(const Solver&, const NoiseLevel& first) {
  require(!Solver::needs_signal || first.abar > 0, "solve: no signal is left at timestep ", first.t,
          "; of the samplers, ancestral and ddim alone start there");
}

/// The same for the scheduler's prediction.
template <class T>
void check_prediction(const Scheduler<T>& scheduler, const NoiseLevel& first) {
  require(first.abar > 0 || scheduler.config().prediction != Prediction::epsilon,
          "Scheduler: no signal is left at timestep ", first.t,
          ", the noise does not tell x_0; predict v or x_0 instead");
}

}  // namespace detail

/// Runs a solver over all levels, from x at levels[0].
///   noise    called as noise() for standard normal numbers shaped as x
///   on_step  called as on_step(const SampleProgress<T>&) after every step
/// Throws PreconditionError as the denoiser or the solver does, and for fewer than two levels.
template <class T, class Solver, Denoiser<T> D, class Noise, class OnStep>
Tensor<T> solve(Solver solver, const D& denoiser, const Scheduler<T>& scheduler,
                std::span<const NoiseLevel> levels, Tensor<T> x, const Noise& noise,
                const OnStep& on_step) {
  require(levels.size() >= 2, "solve: ", levels.size(), " noise levels, expected at least 2");
  detail::check_solver(solver, levels.front());
  const NoGrad no_grad;
  const DenoisingModel<T, D> model{denoiser, scheduler};
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const SolverStep<T> step = solver.step(model, levels, i, x, noise);
    x = step.x;
    on_step(SampleProgress<T>{static_cast<Index>(i) + 1, std::ssize(levels) - 1, levels[i].t, x,
                              step.x_0});
  }
  return x;
}

}  // namespace ddpm::DDPM_ABI
