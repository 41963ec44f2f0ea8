// Checks an op's derivative against central differences, (L(x + h) - L(x - h)) / 2h.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "ddpm/autograd/variable.hpp"
#include "ddpm/core/random.hpp"

namespace ddpm::DDPM_ABI {

struct GradcheckOptions {
  double step = 1e-5;      ///< h; about the cube root of epsilon for inputs of unit scale
  std::uint64_t seed = 1;  ///< of the weights in L = <weights, f(inputs)>
};

struct GradcheckResult {
  double error = 0;       ///< largest |analytic - numeric| / largest |numeric| of that input
  std::size_t input = 0;  ///< where it was found
  Index element = 0;
  double analytic = 0, numeric = 0;
};

/// Compares backward() with central differences for every element of every input that needs a
/// gradient. f takes the inputs and returns a Variable of any shape; it must be a pure function.
/// The inputs' values are changed and put back, their gradients are cleared.
template <class F>
GradcheckResult gradcheck(const F& f, const std::vector<Variable<double>>& inputs,
                          const GradcheckOptions& options = {}) {
  Rng rng(options.seed);
  const Variable<double> y = f(inputs);
  const Tensor<double> weights(y.shape());
  fill_normal<double>(weights, rng);
  for (const auto& input : inputs) input.zero_grad();
  y.backward(weights);

  const auto loss = [&] {
    const NoGrad no_grad;
    const Tensor<double> value = f(inputs).value();
    double sum = 0;
    for (Index i = 0; i < value.size(); ++i) sum += weights[i] * value[i];
    return sum;
  };
  GradcheckResult worst;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    if (!inputs[k].requires_grad()) continue;
    const Tensor<double> x = inputs[k].value();
    const Tensor<double> analytic =
        inputs[k].grad().empty() ? Tensor<double>(x.shape(), 0.0) : inputs[k].grad();
    const Tensor<double> numeric(x.shape());
    double largest = 0;
    for (Index i = 0; i < x.size(); ++i) {
      const double before = x[i];
      x[i] = before + options.step;
      const double above = loss();
      x[i] = before - options.step;
      numeric[i] = (above - loss()) / (2 * options.step);
      x[i] = before;
      largest = std::max(largest, std::abs(numeric[i]));
    }
    for (Index i = 0; i < x.size(); ++i) {
      const double difference = std::abs(analytic[i] - numeric[i]);
      // A gradient that is zero throughout is judged by its absolute error.
      const double error = largest > 0 ? difference / largest : difference;
      if (!(error <= worst.error)) worst = {error, k, i, analytic[i], numeric[i]};
    }
    inputs[k].zero_grad();
  }
  return worst;
}

}  // namespace ddpm::DDPM_ABI
