// Two pixels that belong together, and their best denoiser.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "fixture.hpp"

namespace test {

/// The best denoiser of two pixels, each N(0, 0.5^2), with correlation 0.8.
struct Pair {
  static constexpr double variance = 0.25, correlation = 0.8;
  const Scheduler<double>& scheduler;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const NoiseLevel l = scheduler.level(t[0]);
    const Tensor<double> eps = x.value().clone();
    // Sum and difference are independent.
    const auto factor = [&](double v) { return l.sigma() / (l.abar * v + 1 - l.abar); };
    const double plus = factor(variance * (1 + correlation));
    const double minus = factor(variance * (1 - correlation));
    for (Index n = 0; n < eps.dim(0); ++n) {
      double* e = eps.data() + 2 * n;
      const double sum = plus * (e[0] + e[1]) / 2, difference = minus * (e[0] - e[1]) / 2;
      e[0] = sum + difference;
      e[1] = sum - difference;
    }
    return Variable<double>(eps);
  }
  Shape sample_shape(Index count) const { return {count, 1, 2, 1}; }
};

struct Moments {
  double mean = 0, deviation = 0;
};
/// Of pixel `which` of each pair.
inline Moments moments(const Tensor<double>& x, Index which) {
  double sum = 0, squares = 0;
  for (Index n = 0; n < x.dim(0); ++n) {
    sum += x[2 * n + which];
    squares += x[2 * n + which] * x[2 * n + which];
  }
  const double mean = sum / double(x.dim(0));
  return {mean, std::sqrt(squares / double(x.dim(0)) - mean * mean)};
}

}  // namespace test
