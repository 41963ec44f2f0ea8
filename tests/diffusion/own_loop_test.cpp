// A user's own loop around the scheduler, and sampling in few steps, as README and documents show
// them.
#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/diffusion/inpaint.hpp"
#include "ddpm/diffusion/interpolate.hpp"
#include "ddpm/diffusion/likelihood.hpp"
#include "ddpm/nn/unet.hpp"

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
  const auto mean = scheduler.posterior(t, t - 1);
  CHECK(prev[5] == doctest::Approx(mean.mean_of_x_0() * x_0[5] + mean.mean_of_x_t() * x_t[5] +
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

namespace {

/// A step of DDIM, by hand.
struct MySampler {
  static constexpr bool needs_signal = false;  // it does not divide by alpha

  SolverStep<float> step(const DenoisingModel<float>& model, const Step& step,
                         const Tensor<float>& x, const NoiseSource<float>&) {
    const auto denoised = model.denoise(x, step.now());
    const auto alpha = static_cast<float>(step.next().alpha());
    const auto sigma = static_cast<float>(step.next().sigma());
    Tensor<float> next(x.shape());
    for (Index i = 0; i < x.size(); ++i)
      next[i] = alpha * denoised.x_0[i] + sigma * denoised.epsilon[i];
    return {next, denoised.x_0};
  }
};

}  // namespace

TEST_CASE("solve: a sampler of one's own") {
  struct Network {
    Variable<float> operator()(const Variable<float>& x, std::span<const double>) const {
      return 0.5F * x;
    }
  } const network;
  const Scheduler<float> scheduler;
  const auto noise = random_tensor<float>({2, 4, 4, 1}, 1);
  const NoiseSource<float> none = [] { return Tensor<float>(); };
  // clang-format off
  const auto levels = noise_levels(scheduler, 20, Spacing::trailing);
  const auto images = solve(MySampler(), network, scheduler, levels, noise, none);
  // clang-format on
  const auto known = solve(Ddim<float>(), network, scheduler, levels, noise, none);
  CHECK(relative_difference<float>(images, known) < 1e-5);
}

TEST_CASE("sample: classes, images to start from, holes, bits: a line each") {
  const UNet<float> network({.image = {.channels = 1, .height = 4, .width = 4, .classes = 10},
                             .channels = 4,
                             .multipliers = {1},
                             .blocks = 1,
                             .attention_levels = {},
                             .groups = 2,
                             .dropout = 0},
                            Rng(1));
  const Scheduler<float> scheduler;
  Tensor<float> images = random_tensor<float>({2, 4, 4, 1}, 1);
  for (float& v : images) v = std::tanh(v);
  const auto a = copy_of(images.slice(0, 1)), b = copy_of(images.slice(1, 1));
  Tensor<float> mask(images.shape(), 0.0F);
  for (Index i = 0; i < mask.size(); i += 2) mask[i] = 1;
  const auto noise = random_tensor<float>(images.shape(), 2);
  // clang-format off
  const auto sevens = sample(network, scheduler, {.count = 8, .steps = 50, .labels = {7}, .guidance = 2});
  const auto variations = sample_from(network, scheduler, scheduler.add_noise(images, noise, 300), 300);
  const auto between = interpolate(network, scheduler, a, b, std::vector{0.25, 0.5, 0.75}, 500);
  const auto filled = inpaint(network, scheduler, images, mask, {.steps = 50, .resamplings = 5});
  const double bits = likelihood(network, scheduler, images, {.terms = 50}).bits_per_dim();
  // clang-format on
  CHECK(sevens.shape() == Shape{8, 4, 4, 1});
  CHECK(variations.shape() == images.shape());
  CHECK(between.shape() == Shape{3, 4, 4, 1});
  for (Index i = 0; i < mask.size(); i += 2) CHECK(filled[i] == images[i]);
  CHECK((bits > 1 && bits < 1000));  // an untrained network
}
