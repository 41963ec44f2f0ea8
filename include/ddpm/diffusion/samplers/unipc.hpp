// UniPC of order 2 with B(h) = e^h - 1 ("bh2"), predicting x_0 (Zhao et al. 2023,
// arXiv:2302.04867, algorithms 5 to 8): a multistep predictor, and a corrector that uses the next
// step's evaluation, so that it costs none of its own.
//
//   predictor  x' = sigma'/sigma x + alpha' g (x_0 + D_1 / (2 r))              D_1 = x_0 - before
//   corrector  x' = sigma'/sigma x + alpha' g (x_0 + c_1 D_1 / r + c_2 D_2)    D_2 = x_0' - x_0
//
// with g = 1 - e^-h, r the last step's length in lambda over h, and c from two order conditions
// (for data prediction h changes its sign: the paper's B is then e^-h - 1 = -g).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

struct UniPcOptions {
  bool lower_order_final = true;  ///< the last step's predictor is of first order
};

template <class T>
class UniPc {
 public:
  static constexpr bool needs_signal = true;

  explicit UniPc(const UniPcOptions& options = {}) : options_(options) {}

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& predicted,
                     const NoiseSource<T>&) {
    const NoiseLevel &now = step.now(), &next = step.next();
    const Tensor<T> x_0 = model.denoise(predicted, now).x_0;
    const Tensor<T> x = step.is_first() ? predicted : corrected(x_0, now);
    const bool second = !step.is_first() && !(options_.lower_order_final && step.is_last());
    const Tensor<T> result = next.is_clean() ? x_0 : predict(second, x, x_0, now, next);
    before_ = last_;
    last_ = {x, x_0, now};
    last_was_second_ = second && !next.is_clean();
    return {result, x_0};
  }

 private:
  using Term = detail::Term<T>;
  struct Evaluation {
    Tensor<T> x, x_0;
    NoiseLevel level = NoiseLevel::clean();
  };

  Tensor<T> predict(bool second, const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& now,
                    const NoiseLevel& next) const {
    if (!second) return detail::exponential_step<T>(x, now, next, Term{1, x_0});
    const double h = next.lambda() - now.lambda();
    const double one_over_r = h / (now.lambda() - last_.level.lambda());
    return detail::second_order_step(x, x_0, last_.x_0, one_over_r, now, next);
  }

  /// The sample at `to` once more, from the last one and the evaluation x_0 at the prediction.
  Tensor<T> corrected(const Tensor<T>& x_0, const NoiseLevel& to) const {
    const NoiseLevel& from = last_.level;
    const double h = to.lambda() - from.lambda(), B = std::expm1(-h);
    const double gain = -to.alpha() * B, along = to.sigma() / from.sigma();
    if (!last_was_second_)
      return detail::combine<T>(Term{along, last_.x}, Term{gain / 2, last_.x_0},
                                Term{gain / 2, x_0});
    // c_1 + c_2 = b_1 and r c_1 + c_2 = b_2, with r < 0: the earlier step lies behind.
    const double phi_1 = B / -h - 1, phi_2 = phi_1 / -h - 0.5;
    const double b_1 = phi_1 / B, b_2 = 2 * phi_2 / B;
    const double r = (before_.level.lambda() - from.lambda()) / h;
    const double c_1 = (b_2 - b_1) / (r - 1), c_2 = b_1 - c_1;
    return detail::combine<T>(Term{along, last_.x}, Term{gain * (1 - c_1 / r - c_2), last_.x_0},
                              Term{gain * c_1 / r, before_.x_0}, Term{gain * c_2, x_0});
  }

  UniPcOptions options_;
  Evaluation last_, before_;
  bool last_was_second_ = false;
};

}  // namespace ddpm::DDPM_ABI
