#include "ddpm/kernels/variational.hpp"

#include "../support.hpp"
#include "ddpm/autograd/gradcheck.hpp"
#include "ddpm/autograd/ops/variational.hpp"

using namespace test;

namespace {

const VariationalStep inner{.value_factor = -0.7,
                            .x_t_factor = 1.2,
                            .mean_of_x_0 = 0.3,
                            .mean_of_x_t = 0.65,
                            .log_variance_offset = -1.1,
                            .log_variance_factor = 0.4,
                            .true_log_variance = -1.3,
                            .decoder = false};
/// The step to the image: the mean is the predicted x_0.
const VariationalStep decoder{.value_factor = -0.01,
                              .x_t_factor = 1.01,
                              .mean_of_x_0 = 1,
                              .mean_of_x_t = 0,
                              .log_variance_offset = -7.5,
                              .log_variance_factor = 0.5,
                              .true_log_variance = -9,
                              .decoder = true};

/// The formulas of the head of variational.hpp for one value, in nats, with erf's CDF.
double naive(const VariationalStep& s, bool learned, bool clip, double value, double raw_variance,
             double x_0, double x_t) {
  double hat = s.value_factor * value + s.x_t_factor * x_t;
  if (clip) hat = std::min(1.0, std::max(-1.0, hat));
  const double mean = s.mean_of_x_0 * hat + s.mean_of_x_t * x_t;
  const double variance =
      std::exp(s.log_variance_offset + (learned ? s.log_variance_factor * raw_variance : 0.0));
  if (!s.decoder) {
    const double q_mean = s.mean_of_x_0 * x_0 + s.mean_of_x_t * x_t;
    const double q_variance = std::exp(s.true_log_variance);
    return 0.5 * std::log(variance / q_variance) - 0.5 +
           (q_variance + (q_mean - mean) * (q_mean - mean)) / (2 * variance);
  }
  const auto below = [&](double edge) {
    return 0.5 * std::erfc(-(edge - mean) / std::sqrt(2 * variance));
  };
  const double low = x_0 < -0.999 ? 0 : below(x_0 - 1.0 / 255);
  const double high = x_0 > 0.999 ? 1 : below(x_0 + 1.0 / 255);
  return -std::log(std::max(high - low, 1e-12));
}

/// Pixels on the 256 levels, the outermost among them.
template <class T>
Tensor<T> pixels(const Shape& shape) {
  Tensor<T> x(shape);
  Rng rng(1);
  for (Index i = 0; i < x.size(); ++i)
    x[i] = T(i < 4 ? i % 2 * 255 : rng.below(256)) / T(127.5) - 1;
  return x;
}

template <class T>
Tensor<T> noisy(const Tensor<T>& x_0) {
  const auto noise = random_tensor<T>(x_0.shape(), 2);
  for (Index i = 0; i < noise.size(); ++i) noise[i] = x_0[i] + T(0.02) * noise[i];
  return noise;
}

}  // namespace

TEST_CASE_TEMPLATE("variational: against the formulas, value by value", T, float, double) {
  for (const Index C : {1, 3, 5})
    for (const bool learned : {false, true})
      for (const bool clip : {false, true}) {
        const auto x_0 = pixels<T>({3, 3, 7, C}), x_t = noisy(x_0);
        const Index channels = learned ? 2 * C : C, pixel_count = 21;
        const auto output = random_tensor<T>({3, 3, 7, channels}, 3);
        const std::vector<VariationalStep> steps{inner, decoder, inner};
        const Tensor<T> terms({3}), errors({3});
        kernels::variational_forward<T>(output, x_0, x_t, steps,
                                        {.clip = clip, .learned_variance = learned}, terms, errors);
        for (Index n = 0; n < 3; ++n) {
          const VariationalStep& s = steps[std::size_t(n)];
          double expected = 0, error = 0;
          for (Index p = n * pixel_count; p < (n + 1) * pixel_count; ++p)
            for (Index c = 0; c < C; ++c) {
              const double value = double(output[p * channels + c]), x = double(x_0[p * C + c]);
              const double raw = learned ? double(output[p * channels + C + c]) : 0;
              expected += naive(s, learned, clip, value, raw, x, double(x_t[p * C + c]));
              double hat = s.value_factor * value + s.x_t_factor * double(x_t[p * C + c]);
              if (clip) hat = std::clamp(hat, -1.0, 1.0);
              error += (hat - x) * (hat - x);
            }
          // The tanh is the normal CDF to within 3e-4 of probability.
          CHECK(double(terms[n]) == doctest::Approx(expected / double(pixel_count * C))
                                        .epsilon(s.decoder ? 0.02 : 20 * tolerance<T>(1)));
          CHECK(double(errors[n]) ==
                doctest::Approx(error / double(pixel_count * C)).epsilon(20 * tolerance<T>(1)));
        }
      }
}

TEST_CASE("variational: derivatives by the predicted value and by the log variance") {
  const auto x_0 = pixels<double>({2, 3, 2, 3}), x_t = noisy(x_0);
  for (const bool learned : {false, true}) {
    const auto op = [&](const auto& in) {
      return variational_terms(in[0], x_0, x_t, {inner, decoder}, {.learned_variance = learned});
    };
    const auto result = gradcheck(op, {random_parameter({2, 3, 2, learned ? 6 : 3}, 4)});
    CAPTURE(result.analytic);
    CAPTURE(result.numeric);
    CHECK(result.error < 1e-6);
  }
}

TEST_CASE("variational: without a gradient of the mean, only the variance is trained") {
  const auto x_0 = pixels<double>({1, 2, 2, 1}), x_t = noisy(x_0);
  const auto output = random_parameter({1, 2, 2, 2}, 5);
  const auto gradient_of = [&](bool mean_gradient) {
    output.zero_grad();
    variational_terms(output, x_0, x_t, {inner},
                      {.learned_variance = true, .mean_gradient = mean_gradient})
        .backward();
    return output.grad().clone();
  };
  const auto both = gradient_of(true), variance = gradient_of(false);
  for (Index p = 0; p < 4; ++p) {
    CHECK(both[2 * p] != 0);
    CHECK(variance[2 * p] == 0);
    CHECK(variance[2 * p + 1] == both[2 * p + 1]);
  }
}

TEST_CASE("variational: a pixel beyond all probability costs at most -log 1e-12") {
  const Tensor<double> x_0({1, 1, 1, 1}, 0.5), x_t({1, 1, 1, 1}, -0.9), output({1, 1, 1, 1}, 0.0),
      terms({1});
  kernels::variational_forward<double>(output, x_0, x_t, std::vector{decoder}, {}, terms, {});
  CHECK(terms[0] == doctest::Approx(-std::log(1e-12)));
}
