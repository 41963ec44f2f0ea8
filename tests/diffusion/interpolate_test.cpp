#include "ddpm/diffusion/interpolate.hpp"

#include "pair.hpp"

using namespace test;

TEST_CASE("interpolate: from one image to the other") {
  const Pair model{unclipped()};
  const Tensor<double> a({1, 1, 2, 1}, {0.8, 0.7}), b({1, 1, 2, 1}, {-0.6, -0.5});
  const std::vector<double> lambdas{0, 0.25, 0.5, 1};
  const auto images = interpolate(model, unclipped(), a, b, lambdas, 20);
  REQUIRE(images.shape() == Shape{4, 1, 2, 1});
  for (Index i = 1; i < 4; ++i) CHECK(images[2 * i] < images[2 * i - 2]);
  CHECK(std::abs(images[0] - 0.8) < 0.3);
  CHECK(std::abs(images[6] + 0.6) < 0.3);
  // For a linear denoiser and the same noise, the middle lies in the middle.
  const auto ddim = interpolate(model, unclipped(), a, b, lambdas, 20, {.sampler = Sampler::ddim});
  CHECK(ddim[4] == doctest::Approx((ddim[0] + ddim[6]) / 2));
  const auto error = [&](const Tensor<double>& to, std::vector<double> at) {
    return error_of<PreconditionError>([&] { interpolate(model, unclipped(), a, to, at, 20); });
  };
  CHECK(contains(error(Tensor<double>({1, 1, 1, 1}, 0.0), {0}), "b is (1, 1, 1, 1)"));
  CHECK(contains(error(b, {}), "no lambdas"));
  CHECK(contains(error(b, {1.5}), "lambda is 1.5"));
}
