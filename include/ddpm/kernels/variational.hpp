// One term of the variational bound (Ho et al. 2020, equation 5), in nats, from a network's output.
//
//   xhat   = value_factor output + x_t_factor x_t           the predicted x_0, clipped if asked for
//   mean   = mean_of_x_0 xhat + mean_of_x_t x_t,   l = log variance of p
//   t > 0: KL(q || p) = (l - l_q - 1 + e^(l_q - l) + (mean_q - mean)^2 e^-l) / 2
//   t = 0: -log p(x_0), p cut into the 256 levels of a pixel (section 3.3): the mass of
//          N(mean, e^l) within 1/255 of x_0, the outermost bins open; the normal CDF as
//          (1 + tanh(u)) / 2 = 1 / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3);
//          logarithms floored at 1e-12
//
// l is given, or e + f s with s the output's second half of channels. All in double.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// The factors of one image's step; names as above.
struct VariationalStep {
  double value_factor, x_t_factor;
  double mean_of_x_0, mean_of_x_t;
  double log_variance_offset, log_variance_factor;  ///< e, f; f = 0: the output has no second half
  double true_log_variance;                         ///< l_q
  bool decoder;                                     ///< t = 0
};

/// What all images share.
struct VariationalOptions {
  bool clip = false;              ///< xhat to [-1, 1]: for evaluation
  bool learned_variance = false;  ///< the output has twice the channels
  bool mean_gradient = true;      ///< false: the gradient reaches only the variance
};

namespace detail {

/// A term and its derivatives by mean and by l.
struct VariationalTerm {
  double value, by_mean, by_log_variance;
};

inline VariationalTerm gaussian_kl(double mean_q, double l_q, double mean, double l) {
  const double precision = std::exp(-l), d = mean - mean_q, ratio = std::exp(l_q - l);
  const double square = d * d * precision;
  return {0.5 * (l - l_q - 1 + ratio + square), d * precision, 0.5 * (1 - ratio - square)};
}

/// The normal CDF's approximation and its derivative.
struct NormalCdf {
  double value, density;
  explicit NormalCdf(double x) {
    const double twice = 2 * std::sqrt(2 / std::numbers::pi);
    const double u = twice * (x + 0.044715 * x * x * x);
    value = 1 / (1 + std::exp(-u));
    density = value / (1 + std::exp(u)) * twice * (1 + 3 * 0.044715 * x * x);
  }
};

inline VariationalTerm decoder_nll(double x_0, double mean, double l) {
  constexpr double least = 1e-12;
  const double scale = std::exp(-0.5 * l), bin = 1.0 / 255;
  const double above = scale * (x_0 - mean + bin), below = scale * (x_0 - mean - bin);
  const bool open_below = x_0 < -0.999;
  const bool open_above = x_0 > 0.999;
  // In the lower tail, to which the upper is turned over, the difference does not cancel.
  const double sign = above + below > 0 ? -1 : 1;
  const NormalCdf at_above(sign * above), at_below(sign * below);
  const double to_above = open_above ? (sign > 0 ? 1 : 0) : at_above.value;
  const double to_below = open_below ? (sign > 0 ? 0 : 1) : at_below.value;
  const double mass = sign * (to_above - to_below);
  if (mass <= least) return {-std::log(least), 0, 0};
  const double by_above = open_above ? 0 : at_above.density / mass;
  const double by_below = open_below ? 0 : -at_below.density / mass;
  return {-std::log(mass), scale * (by_above + by_below),
          0.5 * (above * by_above + below * by_below)};
}

/// The predicted x_0 and the term at channel c of one pixel.
struct VariationalPoint {
  double x_0_hat, raw;  ///< clipped and not
  VariationalTerm term;
};

template <class T>
VariationalPoint variational_point(const VariationalStep& s, const VariationalOptions& options,
                                   const T* output, T x_0, T x_t, Index C) {
  const double xt = double(x_t), x0 = double(x_0);
  const double raw = s.value_factor * double(output[0]) + s.x_t_factor * xt;
  const double hat = options.clip ? std::clamp(raw, -1.0, 1.0) : raw;
  const double mean = s.mean_of_x_0 * hat + s.mean_of_x_t * xt;
  const double l = s.log_variance_offset +
                   (options.learned_variance ? s.log_variance_factor * double(output[C]) : 0);
  if (s.decoder) return {hat, raw, decoder_nll(x0, mean, l)};
  return {hat, raw,
          gaussian_kl(s.mean_of_x_0 * x0 + s.mean_of_x_t * xt, s.true_log_variance, mean, l)};
}

inline void check_variational(const Shape& output, const Shape& x_0, const Shape& x_t, Index steps,
                              const VariationalOptions& options) {
  require(x_0.rank() == 4 && x_0.size() > 0, "variational: x_0 is ", x_0,
          ", expected (N, H, W, C)");
  const Index channels = options.learned_variance ? 2 * x_0[3] : x_0[3];
  require_shape("variational: output", output, {x_0[0], x_0[1], x_0[2], channels});
  require_shape("variational: x_t", x_t, x_0);
  require(steps == x_0[0], "variational: ", steps, " steps for ", x_0[0], " images");
}

}  // namespace detail

/// Writes terms (N), the mean over each image's values in nats, and errors (N), the mean of
/// (xhat - x_0)^2; an empty view is not needed.
///   output  (N, H, W, C), or 2 C with a learned variance;  x_0, x_t  (N, H, W, C);  steps  N
/// Throws PreconditionError if shapes disagree.
template <class T>
void variational_forward(View<const T> output, View<const T> x_0, View<const T> x_t,
                         std::span<const VariationalStep> steps, const VariationalOptions& options,
                         View<T> terms, View<T> errors) {
  detail::check_variational(output.shape, x_0.shape, x_t.shape, std::ssize(steps), options);
  const Index N = x_0.dim(0), C = x_0.dim(3), pixels = x_0.size() / (N * C);
  require_shape("variational: terms", terms.shape, {N});
  require_shape_if_given("variational: errors", errors, {N});
  parallel_for(N, [&](Index n) {
    double term = 0, error = 0;
    for (Index p = n * pixels; p < (n + 1) * pixels; ++p)
      for (Index c = 0; c < C; ++c) {
        const auto point =
            detail::variational_point(steps[static_cast<std::size_t>(n)], options,
                                      output.row(p) + c, x_0.row(p)[c], x_t.row(p)[c], C);
        term += point.term.value;
        error += (point.x_0_hat - double(x_0.row(p)[c])) * (point.x_0_hat - double(x_0.row(p)[c]));
      }
    terms[n] = static_cast<T>(term / double(pixels * C));
    if (!errors.empty()) errors[n] = static_cast<T>(error / double(pixels * C));
  });
}

/// With L = <dterms, terms>, writes doutput.
template <class T>
void variational_backward(View<const T> dterms, View<const T> output, View<const T> x_0,
                          View<const T> x_t, std::span<const VariationalStep> steps,
                          const VariationalOptions& options, View<T> doutput) {
  detail::check_variational(output.shape, x_0.shape, x_t.shape, std::ssize(steps), options);
  require_shape("variational_backward: dterms", dterms.shape, {x_0.dim(0)});
  require_shape("variational_backward: doutput", doutput.shape, output.shape);
  const Index N = x_0.dim(0), C = x_0.dim(3), pixels = x_0.size() / (N * C);
  parallel_for(N, [&](Index n) {
    const VariationalStep& step = steps[static_cast<std::size_t>(n)];
    const double share = double(dterms[n]) / double(pixels * C);
    for (Index p = n * pixels; p < (n + 1) * pixels; ++p)
      for (Index c = 0; c < C; ++c) {
        const auto point = detail::variational_point(step, options, output.row(p) + c,
                                                     x_0.row(p)[c], x_t.row(p)[c], C);
        const bool reaches = options.mean_gradient && point.x_0_hat == point.raw;
        doutput.row(p)[c] = static_cast<T>(
            reaches ? share * point.term.by_mean * step.mean_of_x_0 * step.value_factor : 0);
        if (options.learned_variance)
          doutput.row(p)[C + c] =
              static_cast<T>(share * point.term.by_log_variance * step.log_variance_factor);
      }
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
