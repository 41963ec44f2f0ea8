// Euler's and Heun's methods, and Euler's with fresh noise (Karras et al. 2022, arXiv:2206.00364,
// algorithms 1 and 2; the ancestral step as in k-diffusion), for
//
//   d(x / alpha) / dr = eps(x, r)        r = sigma / alpha, the ratio of noise to signal
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

/// First order.
template <class T>
struct Euler {
  static constexpr bool needs_signal = true;

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>&) {
    const auto [x_0, epsilon] = model.denoise(x, step.now());
    return {detail::follow(x, epsilon, step.now(), step.next()), x_0};
  }
};

/// Second order, two evaluations a step; the last one, to a clean image, is Euler's.
template <class T>
struct Heun {
  static constexpr bool needs_signal = true;

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>&) {
    const auto first = model.denoise(x, step.now());
    const Tensor<T> euler = detail::follow(x, first.epsilon, step.now(), step.next());
    if (step.next().is_clean()) return {euler, first.x_0};
    const auto second = model.denoise(euler, step.next());
    using Term = detail::Term<T>;
    const Tensor<T> mean = detail::combine<T>(Term{0.5, first.epsilon}, Term{0.5, second.epsilon});
    return {detail::follow(x, mean, step.now(), step.next()), second.x_0};
  }
};

/// Euler to a level below the next, then noise up to it; as much as the forward process adds.
template <class T>
struct EulerAncestral {
  static constexpr bool needs_signal = true;

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>& noise) {
    const NoiseLevel &now = step.now(), &next = step.next();
    const auto [x_0, epsilon] = model.denoise(x, now);
    if (next.is_clean()) return {detail::follow(x, epsilon, now, next), x_0};
    const double r = now.ratio(), to = next.ratio();
    const double up = to / r * std::sqrt(r * r - to * to), down = to * to / r;
    const Tensor<T> z = noise();
    using Term = detail::Term<T>;
    return {
        detail::combine<T>(Term{next.alpha() / now.alpha(), x},
                           Term{next.alpha() * (down - r), epsilon}, Term{next.alpha() * up, z}),
        x_0};
  }
};

}  // namespace ddpm::DDPM_ABI
