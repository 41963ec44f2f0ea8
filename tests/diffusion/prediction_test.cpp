// Kinds of prediction, their conversions, learned variances and clipping.
#include "ddpm/diffusion/prediction.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/losses.hpp"
#include "ddpm/diffusion/scheduler.hpp"

using namespace test;

namespace {

const Prediction kinds[] = {Prediction::epsilon, Prediction::x_0, Prediction::x_prev,
                            Prediction::v};

}  // namespace

TEST_CASE("predictions: every conversion there and back, and each from the truth") {
  const Scheduler<double> scheduler;
  const auto x_0 = random_tensor<double>({2, 3, 3, 2}, 1),
             noise = random_tensor<double>(x_0.shape(), 2);
  for (const Index t : {1, 500, 999}) {
    const auto x_t = scheduler.add_noise(x_0, noise, t);
    const double alpha = std::sqrt(scheduler.alpha_cumprod(t)),
                 sigma = std::sqrt(1 - alpha * alpha);
    const auto mean = scheduler.posterior(t, t - 1);
    Tensor<double> v(x_0.shape()), prev(x_0.shape());
    for (Index i = 0; i < v.size(); ++i) {
      v[i] = alpha * noise[i] - sigma * x_0[i];
      prev[i] = mean.mean_of_x_0() * x_0[i] + mean.mean_of_x_t() * x_t[i];
    }
    const Tensor<double> truth[] = {noise, x_0, prev, v};
    for (std::size_t from = 0; from < 4; ++from)
      for (std::size_t to = 0; to < 4; ++to) {
        CAPTURE(t);
        CAPTURE(from);
        CAPTURE(to);
        // x_{t-1} holds x_0 with a factor of 1e-4 and less.
        const double condition = from == 2 ? 1e7 : 1e3;
        CHECK(relative_difference<double>(
                  scheduler.convert(truth[from], kinds[from], kinds[to], t, x_t), truth[to]) <
              condition * 1e-15);
      }
  }
}

TEST_CASE("predictions: the training target is what the network should say") {
  const auto x_0 = random_tensor<double>({2, 3, 3, 2}, 1),
             noise = random_tensor<double>(x_0.shape(), 2);
  const std::array<Index, 2> t{3, 700};
  for (const Prediction kind : kinds) {
    CAPTURE(int(kind));
    const Scheduler<double> scheduler({.prediction = kind});
    const auto target = scheduler.training_target(x_0, noise, t),
               x_t = scheduler.add_noise(x_0, noise, t);
    for (Index n = 0; n < 2; ++n) {
      const auto part = [&](const Tensor<double>& x) {
        Tensor<double> one({1, 3, 3, 2});
        std::copy_n(x.data() + n * 18, 18, one.data());
        return one;
      };
      CHECK(relative_difference<double>(part(target),
                                        scheduler.convert(part(noise), Prediction::epsilon, kind,
                                                          t[std::size_t(n)], part(x_t))) < 1e-11);
      // A step from it is one from the truth.
      const auto step = scheduler.step(part(target), t[std::size_t(n)], part(x_t),
                                       Tensor<double>({1, 3, 3, 2}, 0.0));
      Tensor<double> clipped = part(x_0);
      for (double& value : clipped) value = std::clamp(value, -1.0, 1.0);
      CHECK(relative_difference<double>(step.pred_original_sample, clipped) < 1e-7);
    }
    const auto perfect = [&](const Variable<double>&, std::span<const double>,
                             std::span<const Index>, Rng*) { return Variable<double>(target); };
    const auto losses =
        training_losses(perfect, scheduler, x_0, noise, std::span<const Index>(t)).value();
    CHECK((losses[0] == 0 && losses[1] == 0));
  }
}

TEST_CASE("predictions: without signal, noise does not tell x_0, v does") {
  const Tensor<double> x({1, 2, 2, 1}, 0.5);
  const Scheduler<double> dark({.zero_terminal_snr = true});
  CHECK(contains(error_of<PreconditionError>([&] { dark.step(x, 999, x, x); }),
                 "no signal is left at timestep 999"));
  const Scheduler<double> with_v({.zero_terminal_snr = true, .prediction = Prediction::v});
  CHECK(with_v.step(x, 999, x, x).pred_original_sample[0] == doctest::Approx(-0.5));
}

TEST_CASE("variances: learned, and learned between the two fixed ones") {
  const auto x = random_tensor<double>({2, 2, 2, 1}, 1), z = random_tensor<double>(x.shape(), 2);
  const auto output = [&](double second) {
    Tensor<double> both({2, 2, 2, 2});
    for (Index i = 0; i < x.size(); ++i) {
      both[2 * i] = 0.1 * x[i];
      both[2 * i + 1] = second;
    }
    return both;
  };
  const Tensor<double> eps = x.clone();
  for (double& v : eps) v *= 0.1;
  const auto fixed = [&](Variance variance) {
    return Scheduler<double>({.variance = variance}).step(eps, 500, x, z).prev_sample;
  };
  const Scheduler<double> learned({.variance = Variance::learned});
  const Scheduler<double> range({.variance = Variance::learned_range});
  const double small = Scheduler<double>().log_variance(500);
  CHECK(relative_difference<double>(learned.step(output(small), 500, x, z).prev_sample,
                                    fixed(Variance::fixed_small)) < 1e-12);
  CHECK(relative_difference<double>(range.step(output(-1), 500, x, z).prev_sample,
                                    fixed(Variance::fixed_small)) < 1e-12);
  CHECK(relative_difference<double>(range.step(output(1), 500, x, z).prev_sample,
                                    fixed(Variance::fixed_large)) < 1e-12);
  CHECK(contains(error_of<PreconditionError>([&] { range.step(eps, 500, x, z); }),
                 "an output with a learned variance is (2, 2, 2, 1), expected (2, 2, 2, 2)"));
  CHECK_THROWS_AS(range.variance(5), PreconditionError);
}

TEST_CASE("dynamic thresholding: each sample by its own quantile, never below 1") {
  // |x| of the first sample: 0.1, 0.5, 1, 4; the quantile 0.5 lies between 0.5 and 1: at most 1.
  const Tensor<double> low({1, 1, 1, 4}, {0.1, -0.5, 1, 4});
  detail::dynamic_threshold<double>(low, 0.5);
  CHECK(low[3] == 1);
  CHECK(low[0] == 0.1);
  const Tensor<double> both({2, 1, 1, 4}, {0.1, -0.5, 1, 4, 2, -4, 6, -8});
  detail::dynamic_threshold<double>(both, 2.0 / 3);  // the third of four: 1 and 6
  CHECK(both[3] == 1);
  CHECK(both[4] == doctest::Approx(2.0 / 6));
  CHECK(both[7] == doctest::Approx(-1));
  const Scheduler<double> scheduler({.thresholding = true});
  const Tensor<double> x_t({1, 1, 1, 2}, {3, -0.1}), eps({1, 1, 1, 2}, {0, 0});
  const auto x_0 = scheduler.step(eps, 10, x_t, x_t).pred_original_sample;
  CHECK(x_0[0] == doctest::Approx(1));
  CHECK(x_0[1] > -0.05);
}
