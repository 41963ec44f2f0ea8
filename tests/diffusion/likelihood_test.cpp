#include "ddpm/diffusion/likelihood.hpp"

#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"

using namespace test;

namespace {

constexpr double deviation = 0.25;

/// The best denoiser of N(0, deviation^2), which also tells the exact variance of each reverse
/// step: with it the bound is the likelihood itself.
struct Exact {
  const Scheduler<double>& scheduler;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const Shape& s = x.shape();
    Tensor<double> output({s[0], s[1], s[2], 2 * s[3]});
    for (Index row = 0; row < x.value().size() / s[3]; ++row) {
      const auto at = static_cast<Index>(t[std::size_t(row / (s[1] * s[2]))]);
      const NoiseLevel now = scheduler.level(double(at));
      const double spread = now.abar * deviation * deviation + 1 - now.abar;
      const double beta = scheduler.betas()[std::size_t(at)];
      const double prev = scheduler.alpha_cumprod(at - 1);
      // Precisions of q(x_t | x_{t-1}) and q(x_{t-1}) add up.
      const double precision = (1 - beta) / beta + 1 / (prev * deviation * deviation + 1 - prev);
      for (Index c = 0; c < s[3]; ++c) {
        output[row * 2 * s[3] + c] = now.sigma() / spread * x.value()[row * s[3] + c];
        output[row * 2 * s[3] + s[3] + c] = -std::log(precision);
      }
    }
    return Variable<double>(output);
  }
};

/// N(0, deviation^2) on the 256 levels of a pixel.
Tensor<double> gaussian_pixels(const Shape& shape) {
  Tensor<double> x(shape);
  Rng rng(1);
  for (double& v : x) v = std::round((deviation * rng.normal() + 1) * 127.5) / 127.5 - 1;
  return x;
}

}  // namespace

TEST_CASE("likelihood: the prior term, published values") {
  const Scheduler<double> scheduler;
  const Tensor<double> x({3, 1, 1, 1}, {0, 0.5, 1});
  const auto bits = prior_bits(scheduler, x);
  CHECK(bits[0] == doctest::Approx(5.87e-10).epsilon(2e-3));
  CHECK(bits[1] == doctest::Approx(7.28e-6).epsilon(1e-3));
  CHECK(bits[2] == doctest::Approx(2.91e-5).epsilon(1e-3));
}

TEST_CASE("likelihood: Gaussian data under their best denoiser cost their entropy") {
  const Scheduler<double> scheduler({.variance = Variance::learned, .clip_sample = false});
  const auto x = gaussian_pixels({16, 8, 8, 2});
  const auto result = likelihood(Exact{scheduler}, scheduler, x);
  double exact = 0, spread = 0;
  for (const double v : x) {
    // A bin of 2 / 255 of the density.
    const double nats = 0.5 * v * v / (deviation * deviation) +
                        0.5 * std::log(2 * std::numbers::pi * deviation * deviation) -
                        std::log(2.0 / 255);
    exact += nats / std::numbers::ln2 / double(x.size());
  }
  const double entropy =
      0.5 * std::log2(2 * std::numbers::pi * std::numbers::e * deviation * deviation) +
      std::log2(255.0 / 2);
  CHECK(std::abs(exact - entropy) < 5 * std::sqrt(0.5) / std::numbers::ln2 / std::sqrt(2048.0));
  // Of every image; what is left is the noise of the terms.
  for (const double bits : result.of_image) spread += bits / 16;
  CHECK(result.bits_per_dim() == doctest::Approx(spread));
  CHECK(result.bits_per_dim() == doctest::Approx(exact).epsilon(0.005));
  CHECK(result.terms.size() == 1000);
  CHECK(result.rate() > 0);
  CHECK(result.distortion() > 0);
}

TEST_CASE("likelihood: some terms for each image estimate all of them") {
  const Scheduler<double> scheduler({.timesteps = 100, .clip_sample = false});
  struct Wrong {
    Variable<double> operator()(const Variable<double>& x, std::span<const double>) const {
      return 0.3 * x;
    }
  } const wrong;
  const auto x = gaussian_pixels({400, 2, 2, 1});
  const auto all = likelihood(wrong, scheduler, x);
  const auto some = likelihood(wrong, scheduler, x, {.terms = 20});
  CHECK(some.terms.size() == 21);
  CHECK(some.distortion() == all.distortion());  // the decoder's term is never left out
  double mean = 0;  // over seeds: each estimate is within 3 %, and none leans to a side
  for (std::uint64_t seed = 0; seed < 16; ++seed)
    mean += likelihood(wrong, scheduler, x, {.terms = 20, .seed = seed}).rate() / 16;
  CHECK(some.rate() == doctest::Approx(all.rate()).epsilon(0.03));
  CHECK(mean == doctest::Approx(all.rate()).epsilon(0.01));
  // Neither the batch nor the number of images changes an image's value.
  const auto apart = likelihood(wrong, scheduler, x, {.terms = 20, .batch_size = 7});
  CHECK(apart.of_image == some.of_image);
  CHECK(apart.bits_per_dim() == some.bits_per_dim());
}

TEST_CASE("likelihood: the curve spends bits and gains sharpness") {
  const Scheduler<double> scheduler({.variance = Variance::learned, .clip_sample = false});
  const auto result =
      likelihood(Exact{scheduler}, scheduler, gaussian_pixels({8, 4, 4, 1}), {.terms = 50});
  const auto curve = rate_distortion(result);
  REQUIRE(curve.size() == 51);
  CHECK(curve.front().rate < 1e-5);
  // Nothing is known yet: the best guess is the mean.
  CHECK(curve.front().rmse == doctest::Approx(127.5 * deviation).epsilon(0.2));
  CHECK(curve.back().t == 0);
  CHECK(curve.back().rate == doctest::Approx(result.rate()));
  CHECK(curve.back().rmse < 3);
  for (std::size_t i = 1; i < curve.size(); ++i) CHECK(curve[i].rate >= curve[i - 1].rate);
}

TEST_CASE("likelihood: few terms lie on the curve of all") {
  const Scheduler<double> scheduler({.variance = Variance::learned, .clip_sample = false});
  const auto x = gaussian_pixels({64, 4, 4, 1});
  const auto all = rate_distortion(likelihood(Exact{scheduler}, scheduler, x));
  const auto few = rate_distortion(likelihood(Exact{scheduler}, scheduler, x, {.terms = 100}));
  for (const auto& [t, rate, rmse] : few) {
    const auto& same = all[all.size() - 1 - std::size_t(t)];
    REQUIRE(same.t == t);
    CHECK(std::abs(rate - same.rate) < 0.15);  // of 5
    CHECK(std::abs(rmse - same.rmse) < 2);     // of 32
  }
}

TEST_CASE("likelihood: bad input is named") {
  const Scheduler<double> scheduler({.variance = Variance::learned});
  const Exact exact{scheduler};
  const auto x = gaussian_pixels({2, 2, 2, 1});
  const auto error = [&](const Tensor<double>& images, const LikelihoodOptions& options) {
    return error_of<PreconditionError>([&] { likelihood(exact, scheduler, images, options); });
  };
  CHECK(contains(error(Tensor<double>({0, 2, 2, 1}), {}), "images are (0, 2, 2, 1)"));
  CHECK(contains(error(x, {.terms = 1000}), "terms is 1000, expected 1 to 999"));
  CHECK(contains(error(x, {.batch_size = 0}), "batch_size is 0"));
  CHECK(contains(error(x, {.labels = {1}}), "1 labels for 2 images"));
  CHECK(contains(error(x, {.labels = {1, 2}}), "takes none"));
}
