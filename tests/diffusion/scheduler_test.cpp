#include "ddpm/diffusion/scheduler.hpp"

#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

/// The sum of |x| after all reverse steps with the model x t / (t + 1) and noise z.
double run(const Scheduler<double>& scheduler, const Tensor<double>& z) {
  Tensor<double> x = scheduler_fixture();
  for (Index t = scheduler.timesteps() - 1; t >= 0; --t) {
    const Tensor<double> eps = x.clone();
    for (double& v : eps) v *= double(t) / double(t + 1);
    x = scheduler.step(eps, t, x, z).prev_sample;
  }
  double sum = 0;
  for (const double v : x) sum += std::abs(v);
  return sum;
}

}  // namespace

TEST_CASE("scheduler: the published variances of diffusers' tests") {
  const Scheduler<float> scheduler;
  CHECK(scheduler.posterior_variance(0) == 0);
  CHECK(scheduler.posterior_variance(487) == doctest::Approx(0.009791571986).epsilon(1e-9));
  CHECK(scheduler.posterior_variance(999) == doctest::Approx(0.019999983527).epsilon(1e-9));
}

TEST_CASE("scheduler: the full loops of diffusers' tests, with double tables") {
  const Scheduler<double> clipped;
  CHECK(std::abs(run(clipped, Tensor<double>({4, 8, 8, 3}, 0.0)) - 0.66093519) < 1e-7);
  CHECK(std::abs(run(clipped, scheduler_fixture(true)) - 730.3933720) < 1e-5);
}

TEST_CASE("scheduler: tables obey Bayes' rule on a grid, to 1e-12") {
  for (const Index T : {1, 2, 10, 1000, 4000}) {
    const Scheduler<double> scheduler({.timesteps = T});
    double product = 1;
    for (Index t = 0; t < T; ++t) {
      const double beta = scheduler.betas()[std::size_t(t)];
      const double abar_prev = product;
      product *= 1 - beta;
      CHECK(scheduler.alpha_cumprod(t) == doctest::Approx(product).epsilon(1e-14));
      if (t == 0) continue;
      // q(x_{t-1} | x_t, x_0) ~ q(x_t | x_{t-1}) q(x_{t-1} | x_0): precisions add up.
      const double precision = (1 - beta) / beta + 1 / (1 - abar_prev);
      CHECK(scheduler.posterior_variance(t) * precision == doctest::Approx(1).epsilon(1e-12));
      const auto mean = scheduler.posterior(t, t - 1);
      CHECK(mean.mean_of_x_0() * precision * (1 - abar_prev) ==
            doctest::Approx(std::sqrt(abar_prev)).epsilon(1e-12));
      CHECK(mean.mean_of_x_t() * precision * beta ==
            doctest::Approx(std::sqrt(1 - beta)).epsilon(1e-12));
      CHECK((scheduler.posterior_variance(t) > 0 && scheduler.posterior_variance(t) <= beta));
    }
    CHECK(std::isfinite(scheduler.log_variance(0)));
  }
}

TEST_CASE("scheduler: the two fixed variances") {
  const Scheduler<float> small, large({.variance = Variance::fixed_large});
  CHECK(small.variance(500) == small.posterior_variance(500));
  CHECK(large.variance(500) == large.betas()[500]);
  CHECK(small.variance(0) == 0);
  CHECK(large.variance(0) == 0);
  CHECK(large.log_variance(500) == std::log(large.betas()[500]));
  CHECK(large.log_variance(0) == std::log(large.posterior_variance(1)));
}

TEST_CASE_TEMPLATE("scheduler: add_noise and convert to x_0 are inverse", T, float, double) {
  const Scheduler<T> scheduler;
  const auto x_0 = random_tensor<T>({3, 5, 5, 2}, 1), noise = random_tensor<T>(x_0.shape(), 2);
  const std::array<Index, 3> t{0, 250, 999};
  const auto x_t = scheduler.add_noise(x_0, noise, t);
  for (Index n = 0; n < 3; ++n) {
    const double abar = scheduler.alpha_cumprod(t[std::size_t(n)]);
    CHECK(double(x_t[n * 50 + 7]) ==
          doctest::Approx(std::sqrt(abar) * double(x_0[n * 50 + 7]) +
                          std::sqrt(1 - abar) * double(noise[n * 50 + 7])));
  }
  for (const Index one : t) {
    const auto noisy = scheduler.add_noise(x_0, noise, one);
    const double condition = std::sqrt(1 / scheduler.alpha_cumprod(one));
    CHECK(relative_difference<T>(
              scheduler.convert(noise, Prediction::epsilon, Prediction::x_0, one, noisy), x_0) <
          condition * 100 * double(std::numeric_limits<T>::epsilon()));
  }
}

TEST_CASE("scheduler: clipping of the predicted x_0 is an option") {
  const Tensor<double> x_t({1, 1, 1, 2}, {3, -0.1}), eps({1, 1, 1, 2}, {0, 0}), z(x_t.shape(), 0.0);
  const auto clipped = Scheduler<double>().step(eps, 10, x_t, z);
  CHECK(clipped.pred_original_sample[0] == 1);
  const auto free = Scheduler<double>({.clip_sample = false}).step(eps, 10, x_t, z);
  CHECK(free.pred_original_sample[0] > 2.9);
  CHECK(clipped.pred_original_sample[1] == free.pred_original_sample[1]);
}

TEST_CASE("scheduler: bad input is named") {
  CHECK_THROWS_AS(Scheduler<float>({.timesteps = 0}), PreconditionError);
  CHECK_THROWS_AS(Scheduler<float>({.beta_start = 0}), PreconditionError);
  CHECK_THROWS_AS(Scheduler<float>({.beta_end = 1}), PreconditionError);
  CHECK_THROWS_AS(Scheduler<float>({.beta_end = std::nan("")}), PreconditionError);
  const Scheduler<float> scheduler;
  const Tensor<float> x({2, 4, 4, 1}, 0.0F), other({2, 4, 4, 3}, 0.0F);
  CHECK(contains(error_of<PreconditionError>([&] { scheduler.add_noise(x, x, 1000); }),
                 "timestep 1000, expected 0 to 999"));
  CHECK_THROWS_AS(scheduler.add_noise(x, x, -1), PreconditionError);
  CHECK_THROWS_AS(scheduler.add_noise(x, other, 5), PreconditionError);
  CHECK_THROWS_AS(scheduler.add_noise(x, x, std::array<Index, 3>{1, 2, 3}), PreconditionError);
  CHECK_THROWS_AS(scheduler.step(x, 1000, x, x), PreconditionError);
  CHECK_THROWS_AS(scheduler.step(other, 5, x, x), PreconditionError);
  CHECK_THROWS_AS(scheduler.step(x, 5, x, {}), PreconditionError);
  CHECK_NOTHROW(scheduler.step(x, 0, x, {}));
  CHECK_THROWS_AS(scheduler.posterior_variance(-1), PreconditionError);
}

TEST_CASE("sampling: a Gaussian's optimal denoiser gives that Gaussian back") {
  // Data N(m, s^2): E[eps | x_t] = sqrt(1 - abar) (x_t - sqrt(abar) m) / (abar s^2 + 1 - abar).
  const Scheduler<double> scheduler({.timesteps = 200, .clip_sample = false});
  struct Optimal {
    const Scheduler<double>& scheduler;
    double m = 0.3, s = 0.5;

    Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
      const double abar = scheduler.level(t[0]).abar;
      const Tensor<double> eps(x.shape());
      for (Index i = 0; i < eps.size(); ++i)
        eps[i] =
            std::sqrt(1 - abar) * (x.value()[i] - std::sqrt(abar) * m) / (abar * s * s + 1 - abar);
      return Variable<double>(eps);
    }
    Shape sample_shape(Index count) const { return {count, 4, 4, 1}; }
  } const optimal{scheduler};
  const auto samples = sample(optimal, scheduler, {.count = 4000, .seed = 1, .batch_size = 1000});
  double mean = 0, square = 0;
  for (const double v : samples) {
    mean += v / double(samples.size());
    square += v * v / double(samples.size());
  }
  CHECK(mean == doctest::Approx(0.3).epsilon(0.02));
  // beta~ is the variance for x_0 a point: a little small for wide data, so a loose bound.
  CHECK(std::sqrt(square - mean * mean) == doctest::Approx(0.5).epsilon(0.05));
}

TEST_CASE("sampling [DT-2]: sample i is the same in any batch") {
  struct Half {
    Variable<float> operator()(const Variable<float>& x, std::span<const double>) const {
      return 0.5F * x;
    }
    Shape sample_shape(Index count) const { return {count, 3, 3, 1}; }
  };
  const Scheduler<float> scheduler({.timesteps = 20});
  const auto all = sample(Half(), scheduler, {.count = 7, .seed = 3});
  const auto split = sample(Half(), scheduler, {.count = 7, .seed = 3, .batch_size = 2});
  const auto last = sample(Half(), scheduler, {.count = 1, .seed = 3, .first = 6});
  CHECK(same_bits(all, split));
  CHECK(std::memcmp(last.data(), all.slice(6, 1).data, 9 * sizeof(float)) == 0);
  CHECK_FALSE(same_bits(all, sample(Half(), scheduler, {.count = 7, .seed = 4})));
  CHECK(sample(Half(), scheduler, {.count = 1, .height = 5, .width = 2}).shape() ==
        Shape{1, 5, 2, 1});
  CHECK_THROWS_AS(sample(Half(), scheduler, {.count = 0}), PreconditionError);
  CHECK_THROWS_AS(sample(Half(), scheduler, {.batch_size = 0}), PreconditionError);
  CHECK_THROWS_AS(sample(Half(), scheduler, {.height = -1}), PreconditionError);
}
