// DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095): exponential integrators that keep x_0.
//
//   x' = sigma'/sigma x - alpha' (e^-h - 1) D        h = lambda' - lambda
//
// with D = x_0 for the first order. Multistep (algorithm 2 and appendix B) take D's slope from
// earlier steps, single-step (algorithm 1) from a level in between, SDE (section 5) adds noise.
// To a clean image h is infinite: that step is of first order, and gives x_0.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

namespace detail {

/// The first-order step; higher orders add to it.
template <class T>
Tensor<T> dpm_step(const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& from,
                   const NoiseLevel& to) {
  if (to.abar == 1) return x_0;
  const double decay = std::expm1(from.lambda() - to.lambda());  // e^-h - 1
  return combine<T>(Term<T>{to.sigma() / from.sigma(), x}, Term<T>{-to.alpha() * decay, x_0});
}

}  // namespace detail

/// Multistep, one evaluation a step: order 1, 2 ("2M") or 3 ("3M"). The first steps are of the
/// orders that the history allows.
template <class T>
struct DpmSolverMultistep {
  static constexpr bool needs_signal = true;
  int order = 2;
  bool lower_order_final = true;  ///< fall to order 1 at the end of less than 15 steps, for
                                  ///< stability (Lu et al. 2022, section 6)
  bool sde = false;               ///< add noise; orders 1 and 2

  std::array<Tensor<T>, 2> earlier = {};  ///< x_0 of the step before, and of the one before that
  std::array<double, 2> earlier_lambda{};
  int known = 0;

  template <class M, class Noise>
  SolverStep<T> step(const M& model, std::span<const NoiseLevel> levels, std::size_t i,
                     const Tensor<T>& x, const Noise& noise) {
    require(order >= 1 && order <= (sde ? 2 : 3), "DpmSolverMultistep: order is ", order,
            ", expected 1 to ", sde ? 2 : 3);
    const NoiseLevel &now = levels[i], &next = levels[i + 1];
    const Tensor<T> x_0 = model.denoise(x, now).x_0;
    const Index left = std::ssize(levels) - 1 - static_cast<Index>(i);
    int reached = std::min(order, known + 1);
    if (lower_order_final && levels.size() <= 15)
      reached = static_cast<int>(std::min<Index>(reached, left));
    if (next.abar == 1) reached = 1;
    const Tensor<T> result = advance(reached, x, x_0, now, next, noise);
    earlier = {x_0, earlier[0]};
    earlier_lambda = {now.lambda(), earlier_lambda[0]};
    known = std::min(known + 1, 2);
    return {result, x_0};
  }

 private:
  using Term = detail::Term<T>;

  template <class Noise>
  Tensor<T> advance(int reached, const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& now,
                    const NoiseLevel& next, const Noise& noise) const {
    if (next.abar == 1) return x_0;
    const double h = next.lambda() - now.lambda(), decay = std::expm1(-h);
    // 1 / r_0 of the slope D1 = (x_0 - earlier x_0) / r_0
    const double slope = reached >= 2 ? h / (now.lambda() - earlier_lambda[0]) : 0;
    const Tensor<T>& before = reached >= 2 ? earlier[0] : x_0;
    if (sde) {
      const double gain = -next.alpha() * std::expm1(-2 * h);
      const Tensor<T> z = noise();
      return detail::combine<T>(Term{next.sigma() / now.sigma() * std::exp(-h), x},
                                Term{gain * (1 + slope / 2), x_0}, Term{-gain * slope / 2, before},
                                Term{next.sigma() * std::sqrt(-std::expm1(-2 * h)), z});
    }
    const double along = next.sigma() / now.sigma(), gain = -next.alpha() * decay;
    if (reached < 3)
      return detail::combine<T>(Term{along, x}, Term{gain * (1 + slope / 2), x_0},
                                Term{-gain * slope / 2, before});
    // Third order: D1 and D2, the derivatives of x_0 in lambda, from three values.
    const double r0 = (now.lambda() - earlier_lambda[0]) / h,
                 r1 = (earlier_lambda[0] - earlier_lambda[1]) / h;
    const double of_D1 = next.alpha() * (decay / h + 1),
                 of_D2 = -next.alpha() * ((decay + h) / (h * h) - 0.5);
    // D1 = a + r0 / (r0 + r1) (a - b), D2 = 2 (a - b) / (r0 + r1), a and b the two slopes. The
    // reference code has half of D2, which costs it the third order.
    const double of_a = of_D1 * (1 + r0 / (r0 + r1)) + of_D2 * 2 / (r0 + r1);
    const double of_b = -of_D1 * r0 / (r0 + r1) - of_D2 * 2 / (r0 + r1);
    return detail::combine<T>(Term{along, x}, Term{gain + of_a / r0, x_0},
                              Term{-of_a / r0 + of_b / r1, earlier[0]},
                              Term{-of_b / r1, earlier[1]});
  }
};

/// Single-step, second order ("2S"): steps go in pairs, the first of which is the way to the
/// middle; no history. The last of an odd number is of first order.
template <class T>
struct DpmSolverSinglestep {
  static constexpr bool needs_signal = true;
  Tensor<T> first_x = {}, first_x_0 = {};  ///< at the start of the pair

  template <class M, class Noise>
  SolverStep<T> step(const M& model, std::span<const NoiseLevel> levels, std::size_t i,
                     const Tensor<T>& x, const Noise&) {
    const NoiseLevel &now = levels[i], &next = levels[i + 1];
    const Tensor<T> x_0 = model.denoise(x, now).x_0;
    if (i % 2 == 0) {
      first_x = x;
      first_x_0 = x_0;
    }
    if (i % 2 == 0 || next.abar == 1) return {detail::dpm_step(x, x_0, now, next), x_0};
    const NoiseLevel& start = levels[i - 1];
    const double h = next.lambda() - start.lambda(), decay = std::expm1(-h);
    const double slope = h / (now.lambda() - start.lambda());  // 1 / r_1
    const double gain = -next.alpha() * decay;
    using Term = detail::Term<T>;
    return {
        detail::combine<T>(Term{next.sigma() / start.sigma(), first_x},
                           Term{gain * (1 - slope / 2), first_x_0}, Term{gain * slope / 2, x_0}),
        x_0};
  }
};

}  // namespace ddpm::DDPM_ABI
