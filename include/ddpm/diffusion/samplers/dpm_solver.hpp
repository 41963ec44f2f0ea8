// DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095): exponential integrators that keep x_0.
//
//   x' = sigma'/sigma x - alpha' (e^-h - 1) D        h = lambda' - lambda
//
// with D = x_0 for the first order. Multistep (algorithm 2 and appendix B) takes D's slope from
// earlier steps, single-step (algorithm 1) from a level in between, SDE (section 5) adds noise.
// To a clean image h is infinite: that step is of first order, and gives x_0.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

struct DpmSolverOptions {
  int order = 2;                  ///< 1, 2 ("2M") or 3 ("3M"); with noise 1 or 2
  bool sde = false;               ///< add noise
  bool lower_order_final = true;  ///< fall to order 1 at the end of less than 15 steps, for
                                  ///< stability (Lu et al. 2022, section 6)
};

/// Multistep, one evaluation a step. The first steps are of the orders that the history allows.
template <class T>
class DpmSolverMultistep {
 public:
  static constexpr bool needs_signal = true;

  /// Throws PreconditionError if an option is out of range.
  explicit DpmSolverMultistep(const DpmSolverOptions& options = {}) : options_(options) {
    const int most = options.sde ? 2 : 3;
    require(options.order >= 1 && options.order <= most, "DpmSolverMultistep: order is ",
            options.order, ", expected 1 to ", most);
  }

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>& noise) {
    const NoiseLevel &now = step.now(), &next = step.next();
    const Tensor<T> x_0 = model.denoise(x, now).x_0;
    const Tensor<T> result = next.is_clean() ? x_0 : advance(order(step), x, x_0, now, next, noise);
    remember(x_0, now);
    return {result, x_0};
  }

  /// Adds an evaluation to the history, as each step does with its own.
  void remember(const Tensor<T>& x_0, const NoiseLevel& level) {
    earlier_ = {x_0, earlier_[0]};
    lambda_ = {level.lambda(), lambda_[0]};
    known_ = std::min(known_ + 1, 2);
  }

 private:
  using Term = detail::Term<T>;

  /// What history and the rule for the last steps allow.
  int order(const Step& step) const {
    const int reached = std::min(options_.order, known_ + 1);
    if (!options_.lower_order_final || step.count() >= 15) return reached;
    return static_cast<int>(std::min<Index>(reached, step.left()));
  }

  Tensor<T> advance(int order, const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& now,
                    const NoiseLevel& next, const NoiseSource<T>& noise) const {
    const double h = next.lambda() - now.lambda();
    const double one_over_r = order >= 2 ? h / (now.lambda() - lambda_[0]) : 0;
    const Tensor<T>& before = order >= 2 ? earlier_[0] : x_0;
    if (options_.sde) return with_noise(x, x_0, before, one_over_r, now, next, noise());
    if (order < 3) return detail::second_order_step(x, x_0, before, one_over_r, now, next);
    return third_order(x, x_0, now, next);
  }

  static Tensor<T> with_noise(const Tensor<T>& x, const Tensor<T>& x_0, const Tensor<T>& before,
                              double one_over_r, const NoiseLevel& now, const NoiseLevel& next,
                              const Tensor<T>& z) {
    const double h = next.lambda() - now.lambda(), gain = -next.alpha() * std::expm1(-2 * h);
    return detail::combine<T>(Term{next.sigma() / now.sigma() * std::exp(-h), x},
                              Term{gain * (1 + one_over_r / 2), x_0},
                              Term{-gain * one_over_r / 2, before},
                              Term{next.sigma() * std::sqrt(-std::expm1(-2 * h)), z});
  }

  /// D1 and D2, the derivatives of x_0 in lambda, from three values.
  Tensor<T> third_order(const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& now,
                        const NoiseLevel& next) const {
    const double h = next.lambda() - now.lambda(), decay = std::expm1(-h);
    const double r0 = (now.lambda() - lambda_[0]) / h, r1 = (lambda_[0] - lambda_[1]) / h;
    const double of_D1 = next.alpha() * (decay / h + 1),
                 of_D2 = -next.alpha() * ((decay + h) / (h * h) - 0.5);
    // D1 = a + r0 / (r0 + r1) (a - b), D2 = 2 (a - b) / (r0 + r1), a and b the two slopes. The
    // reference code has half of D2, which costs it the third order.
    const double of_a = of_D1 * (1 + r0 / (r0 + r1)) + of_D2 * 2 / (r0 + r1);
    const double of_b = -of_D1 * r0 / (r0 + r1) - of_D2 * 2 / (r0 + r1);
    return detail::combine<T>(
        Term{next.sigma() / now.sigma(), x}, Term{-next.alpha() * decay + of_a / r0, x_0},
        Term{-of_a / r0 + of_b / r1, earlier_[0]}, Term{-of_b / r1, earlier_[1]});
  }

  DpmSolverOptions options_;
  std::array<Tensor<T>, 2> earlier_;  ///< x_0 of the step before, and of the one before that
  std::array<double, 2> lambda_{};    ///< where they were seen
  int known_ = 0;
};

/// Single-step, second order ("2S"): steps go in pairs, the first of which is the way to the
/// middle; no history from pair to pair. The last of an odd number is of first order.
template <class T>
class DpmSolverSinglestep {
 public:
  static constexpr bool needs_signal = true;

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>&) {
    const NoiseLevel &middle = step.now(), &next = step.next();
    const Tensor<T> x_0 = model.denoise(x, middle).x_0;
    const bool to_middle = !std::exchange(in_middle_, !in_middle_);
    if (to_middle) {
      start_ = middle;
      start_x_ = x;
      start_x_0_ = x_0;
    }
    if (next.is_clean()) return {x_0, x_0};
    if (to_middle)
      return {detail::exponential_step<T>(x, middle, next, detail::Term<T>{1, x_0}), x_0};
    const double h = next.lambda() - start_.lambda();
    const double one_over_r = h / (start_.lambda() - middle.lambda());  // the middle lies ahead
    return {detail::second_order_step(start_x_, start_x_0_, x_0, one_over_r, start_, next), x_0};
  }

 private:
  bool in_middle_ = false;
  NoiseLevel start_ = NoiseLevel::clean();  ///< of the pair
  Tensor<T> start_x_, start_x_0_;
};

}  // namespace ddpm::DDPM_ABI
