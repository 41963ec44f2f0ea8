// A user's own loop around the scheduler, and sampling in few steps, as README and documents show
// them.
#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/diffusion/sample.hpp"

using namespace test;

TEST_CASE("scheduler: with the true noise, one step leads towards x_0") {
  const Scheduler<float> scheduler;
  Tensor<float> x_0 = random_tensor<float>({2, 4, 4, 1}, 1);
  for (float& v : x_0) v = std::tanh(v);  // within the clipping range
  const auto noise = random_tensor<float>(x_0.shape(), 2), z = random_tensor<float>(x_0.shape(), 3);
  const Index t = 500;
  const Tensor<float> eps = noise;
  // clang-format off
  const Tensor<float> x_t = scheduler.add_noise(x_0, noise, t);             // eq. 4
  const Tensor<float> prev = scheduler.step(eps, t, x_t, z).prev_sample;    // algorithm 2, eq. 11
  // clang-format on
  CHECK(relative_difference<float>(scheduler.step(eps, t, x_t, z).pred_original_sample, x_0) <
        1e-4);
  CHECK(prev.shape() == x_0.shape());
  const auto mean = scheduler.posterior_mean(t);
  CHECK(prev[5] == doctest::Approx(mean.of_x_0 * x_0[5] + mean.of_x_t * x_t[5] +
                                   std::sqrt(scheduler.variance(t)) * z[5])
                       .epsilon(1e-4));
}

TEST_CASE("sample: another sampler is an option away") {
  struct Network {
    Variable<float> operator()(const Variable<float>& x, std::span<const double>) const {
      return 0.5F * x;
    }
    Shape sample_shape(Index count) const { return {count, 4, 4, 1}; }
  } const network;
  const Scheduler<float> scheduler;
  // clang-format off
  const auto images = sample(network, scheduler, {.count = 64, .sampler = Sampler::dpm_solver_2m, .steps = 20});
  // clang-format on
  CHECK(images.shape() == Shape{64, 4, 4, 1});
  for (const float v : images) CHECK(std::abs(v) <= 1);  // the last step gives x_0, clipped
}
