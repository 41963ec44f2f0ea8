// PNDM (Liu et al. 2022, arXiv:2202.09778): pseudo numerical methods, which move along the ODE's
// solution for constant noise (equation 11) and take that noise from a linear multistep formula
// (equation 12); the first three steps are pseudo Runge-Kutta steps of four evaluations.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

template <class T>
class Pndm {
 public:
  static constexpr bool needs_signal = true;

  /// The timesteps between the levels at which it asks the network too.
  static std::vector<double> timesteps_between(std::span<const NoiseLevel> levels) {
    std::vector<double> middles;
    for (std::size_t i = 0; i < 3 && i + 1 < levels.size() && !levels[i + 1].is_clean(); ++i)
      middles.push_back(middle(levels[i], levels[i + 1]));
    return middles;
  }

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>&) {
    const auto [x_0, e] = model.denoise(x, step.now());
    Tensor<T> epsilon = e;
    if (known_ == 3)
      epsilon = detail::combine<T>(Term{55.0 / 24, e}, Term{-59.0 / 24, earlier_[0]},
                                   Term{37.0 / 24, earlier_[1]}, Term{-9.0 / 24, earlier_[2]});
    else if (!step.next().is_clean())
      epsilon = runge_kutta(model, x, e, step.now(), step.next());
    earlier_ = {e, earlier_[0], earlier_[1]};
    known_ = std::min(known_ + 1, 3);
    return {detail::follow(x, epsilon, step.now(), step.next()), x_0};
  }

 private:
  using Term = detail::Term<T>;

  static double middle(const NoiseLevel& now, const NoiseLevel& next) {
    return (now.t + next.t) / 2;
  }

  static Tensor<T> runge_kutta(const DenoisingModel<T>& model, const Tensor<T>& x,
                               const Tensor<T>& e1, const NoiseLevel& now, const NoiseLevel& next) {
    const NoiseLevel half = model.scheduler.level(middle(now, next));
    const Tensor<T> e2 = model.denoise(detail::follow(x, e1, now, half), half).epsilon;
    const Tensor<T> e3 = model.denoise(detail::follow(x, e2, now, half), half).epsilon;
    const Tensor<T> e4 = model.denoise(detail::follow(x, e3, now, next), next).epsilon;
    return detail::combine<T>(Term{1.0 / 6, e1}, Term{1.0 / 3, e2}, Term{1.0 / 3, e3},
                              Term{1.0 / 6, e4});
  }

  std::array<Tensor<T>, 3> earlier_;  ///< noise of the last three steps, the newest first
  int known_ = 0;
};

}  // namespace ddpm::DDPM_ABI
