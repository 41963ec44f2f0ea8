// UniPC of order 2 with B(h) = e^h - 1 ("bh2"), predicting x_0 (Zhao et al. 2023,
// arXiv:2302.04867, algorithms 5 to 8): a multistep predictor, and a corrector that uses the next
// step's evaluation, so that it costs none of its own.
//
//   predictor  x' = sigma'/sigma x + alpha' B (x_0 + D / 2)              D  = (x_0 - before) / r
//   corrector  x' = sigma'/sigma x + alpha' B (x_0 + c_1 D + c_2 D')     D' = x_0' - x_0
//
// with B = 1 - e^-h, r the last step's length in lambda over h, and c from two order conditions.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

template <class T>
struct UniPc {
  static constexpr bool needs_signal = true;
  bool lower_order_final = true;  ///< the last step's predictor is of first order

  Tensor<T> last_x = {}, last_x_0 = {}, earlier_x_0 = {};
  double last_lambda = 0, earlier_lambda = 0;
  bool last_was_second = false;
  int known = 0;

  template <class M, class Noise>
  SolverStep<T> step(const M& model, std::span<const NoiseLevel> levels, std::size_t i,
                     const Tensor<T>& predicted, const Noise&) {
    const NoiseLevel &now = levels[i], &next = levels[i + 1];
    const Tensor<T> x_0 = model.denoise(predicted, now).x_0;
    const Tensor<T> x = i == 0 ? predicted : corrected(x_0, levels[i - 1], now);
    const bool last = i + 2 == levels.size();
    const bool second = known >= 1 && !(lower_order_final && last) && next.abar < 1;
    const Tensor<T> result = predict(second, x, x_0, now, next);
    earlier_x_0 = last_x_0;
    earlier_lambda = last_lambda;
    last_x = x;
    last_x_0 = x_0;
    last_lambda = now.lambda();
    last_was_second = second;
    ++known;
    return {result, x_0};
  }

 private:
  using Term = detail::Term<T>;

  Tensor<T> predict(bool second, const Tensor<T>& x, const Tensor<T>& x_0, const NoiseLevel& now,
                    const NoiseLevel& next) const {
    if (next.abar == 1) return x_0;
    const double h = next.lambda() - now.lambda();
    const double gain = -next.alpha() * std::expm1(-h), along = next.sigma() / now.sigma();
    if (!second) return detail::combine<T>(Term{along, x}, Term{gain, x_0});
    const double slope = h / (now.lambda() - last_lambda);  // 1 / r
    return detail::combine<T>(Term{along, x}, Term{gain * (1 + slope / 2), x_0},
                              Term{-gain * slope / 2, last_x_0});
  }

  /// The sample at `to` once more, from the one at `from` and the evaluation x_0 at the prediction.
  Tensor<T> corrected(const Tensor<T>& x_0, const NoiseLevel& from, const NoiseLevel& to) const {
    const double h = to.lambda() - from.lambda(), B = std::expm1(-h);
    const double gain = -to.alpha() * B, along = to.sigma() / from.sigma();
    if (!last_was_second)
      return detail::combine<T>(Term{along, last_x}, Term{gain / 2, last_x_0}, Term{gain / 2, x_0});
    // c_1 + c_2 = b_1 and r c_1 + c_2 = b_2, with r < 0: the earlier step lies behind.
    const double phi_1 = B / -h - 1, phi_2 = phi_1 / -h - 0.5;
    const double b_1 = phi_1 / B, b_2 = 2 * phi_2 / B, r = (earlier_lambda - last_lambda) / h;
    const double c_1 = (b_2 - b_1) / (r - 1), c_2 = b_1 - c_1;
    return detail::combine<T>(Term{along, last_x}, Term{gain * (1 - c_1 / r - c_2), last_x_0},
                              Term{gain * c_1 / r, earlier_x_0}, Term{gain * c_2, x_0});
  }
};

}  // namespace ddpm::DDPM_ABI
