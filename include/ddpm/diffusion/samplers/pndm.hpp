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
struct Pndm {
  static constexpr bool needs_signal = true;
  std::array<Tensor<T>, 3> earlier = {};  ///< noise of the last three steps, the newest first
  int known = 0;

  template <class M, class Noise>
  SolverStep<T> step(const M& model, std::span<const NoiseLevel> levels, std::size_t i,
                     const Tensor<T>& x, const Noise&) {
    const NoiseLevel &now = levels[i], &next = levels[i + 1];
    const auto first = model.denoise(x, now);
    Tensor<T> epsilon = first.epsilon;
    if (known == 3)
      epsilon = detail::combine<T>(Term{55.0 / 24, first.epsilon}, Term{-59.0 / 24, earlier[0]},
                                   Term{37.0 / 24, earlier[1]}, Term{-9.0 / 24, earlier[2]});
    else if (next.abar < 1)
      epsilon = runge_kutta(model, x, first.epsilon, now, next);
    earlier = {first.epsilon, earlier[0], earlier[1]};
    known = std::min(known + 1, 3);
    return {detail::follow(x, epsilon, now, next), first.x_0};
  }

 private:
  using Term = detail::Term<T>;

  template <class M>
  static Tensor<T> runge_kutta(const M& model, const Tensor<T>& x, const Tensor<T>& e1,
                               const NoiseLevel& now, const NoiseLevel& next) {
    const NoiseLevel middle = model.scheduler.level((now.t + next.t) / 2);
    const Tensor<T> e2 = model.denoise(detail::follow(x, e1, now, middle), middle).epsilon;
    const Tensor<T> e3 = model.denoise(detail::follow(x, e2, now, middle), middle).epsilon;
    const Tensor<T> e4 = model.denoise(detail::follow(x, e3, now, next), next).epsilon;
    return detail::combine<T>(Term{1.0 / 6, e1}, Term{1.0 / 3, e2}, Term{1.0 / 3, e3},
                              Term{1.0 / 6, e4});
  }
};

}  // namespace ddpm::DDPM_ABI
