#include "ddpm/train/trainer.hpp"

#include <numbers>

#include "ddpm/diffusion/sample.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/train/config_text.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

/// Weights, losses and samples of a short training run.
struct Outcome {
  std::vector<double> losses;
  std::vector<Tensor<float>> weights;
  Tensor<float> samples;
};

Outcome outcome_of(const TrainerOptions& options, const Tensor<float>& images) {
  Outcome result;
  const UNet<float> net(small, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 20});
  Trainer<float> trainer(net, scheduler, options);
  trainer.fit(images, [&](auto&, const TrainingStep& step) { result.losses.push_back(step.loss); });
  for (const auto& parameter : nn::parameters<float>(net))
    result.weights.push_back(parameter.value());
  result.samples = sample(trainer.ema_model(), scheduler, {.count = 3, .seed = 5});
  return result;
}

}  // namespace

TEST_CASE("trainer [DT-1]: losses, weights and samples are the same at any number of threads") {
  const auto images = random_tensor<float>({9, 10, 7, 1}, 1);
  set_num_threads(1);
  const Outcome one = outcome_of(quiet(4), images);
  for (const int threads : {2, 3, 4, 8}) {
    set_num_threads(threads);
    const Outcome many = outcome_of(quiet(4), images);
    CHECK(one.losses == many.losses);
    for (std::size_t i = 0; i < one.weights.size(); ++i)
      CHECK(same_bits(one.weights[i], many.weights[i]));
    CHECK(same_bits(one.samples, many.samples));
  }
  set_num_threads(2);
}

TEST_CASE("trainer: learns a set of four images by heart") {
  Tensor<float> images({4, 8, 8, 1}, -0.9F);
  for (Index n = 0; n < 4; ++n)
    for (Index p = 0; p < 64; ++p)
      if (p / 8 / 4 * 2 + p % 8 / 4 == n) images[n * 64 + p] = 0.9F;  // one bright quarter each
  const UNet<float> net(small, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 100, .beta_end = 0.1});
  double loss = 0;
  auto options = quiet(600);
  options.batch_size = 16;
  options.ema_decay = 0.99;
  Trainer<float> trainer(net, scheduler, options);
  trainer.fit(images,
              [&](auto&, const TrainingStep& step) { loss = 0.95 * loss + 0.05 * step.loss; });
  CHECK(loss < 0.15);  // 1 before training
  const auto samples = sample(trainer.ema_model(), scheduler, {.count = 16, .seed = 1});
  int known = 0;
  for (Index i = 0; i < 16; ++i) {
    double nearest = 1e9;
    for (Index n = 0; n < 4; ++n) {
      double distance = 0;
      for (Index p = 0; p < 64; ++p)
        distance += std::pow(double(samples[i * 64 + p]) - double(images[n * 64 + p]), 2) / 64;
      nearest = std::min(nearest, distance);
    }
    known += nearest < 0.15;
  }
  CHECK(known >= 14);  // so small a network blends two now and then
}

TEST_CASE("trainer: accumulated batches are one large batch") {
  const auto images = random_tensor<float>({8, 8, 8, 1}, 1);
  auto whole = quiet(3), parts = quiet(3);
  whole.batch_size = 8;
  parts.batch_size = 2;
  parts.accumulation = 4;
  // Dropout draws its mask for a batch, so it is left out here.
  UNetConfig config = small;
  config.dropout = 0;
  const UNet<float> a(config, Rng(1)), b(config, Rng(1));
  const Scheduler<float> scheduler;
  std::vector<double> losses_a, losses_b;
  const auto keep_in = [](std::vector<double>& losses) {
    return [&](auto&, const TrainingStep& step) { losses.push_back(step.loss); };
  };
  Trainer<float>(a, scheduler, whole).fit(images, keep_in(losses_a));
  Trainer<float>(b, scheduler, parts).fit(images, keep_in(losses_b));
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(losses_a[i] == doctest::Approx(losses_b[i]).epsilon(1e-4));
}

TEST_CASE("trainer: a second fit goes on from the first, the callback gets the trainer") {
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  const Outcome whole = outcome_of(quiet(6), images);
  const UNet<float> net(small, Rng(1));
  std::vector<double> losses;
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), quiet(3));
  const auto on_step = [&](Trainer<float>& running, const TrainingStep& step) {
    losses.push_back(step.loss);
    CHECK(&running == &trainer);
    CHECK(step.step == Index(losses.size()));
    CHECK(running.steps() == step.step);
    CHECK(step.gradient_norm > 0);
    CHECK(step.learning_rate == 2e-3);
  };
  trainer.fit(images, on_step);
  trainer.fit(images, on_step);
  CHECK(losses == whole.losses);
  CHECK(trainer.steps() == 6);
}

TEST_CASE("trainer: a callback ends fit(), and the next goes on") {
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  const Outcome whole = outcome_of(quiet(6), images);
  const UNet<float> net(small, Rng(1));
  std::vector<double> losses;
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), quiet(4));
  trainer.fit(images, [&](Trainer<float>& running, const TrainingStep& step) {
    losses.push_back(step.loss);
    if (step.step == 2) running.stop();
  });
  CHECK(trainer.steps() == 2);
  trainer.fit(images, [&](auto&, const TrainingStep& step) { losses.push_back(step.loss); });
  CHECK(losses == whole.losses);
}

TEST_CASE("trainer: a callback changes the length of the run, and the cosine follows") {
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  const UNet<float> net(small, Rng(1));
  auto options = quiet(100);
  options.decay = optim::Decay::cosine;
  std::vector<double> rates;
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), options);
  trainer.fit(images, [&](Trainer<float>& running, const TrainingStep& step) {
    rates.push_back(step.learning_rate);
    if (step.step == 2) running.set_steps(5);
  });
  REQUIRE(rates.size() == 5);
  CHECK(rates[4] == doctest::Approx(0.5 * 2e-3 * (1 + std::cos(std::numbers::pi * 4 / 5))));
  CHECK_THROWS_AS(trainer.set_steps(0), PreconditionError);
}

TEST_CASE("trainer: options are data that can be written and read back") {
  TrainerOptions options = quiet(7);
  options.decay = optim::Decay::cosine;
  options.max_grad_norm = std::numeric_limits<double>::infinity();
  options.loss = {Loss::min_snr, 3.25, 0.125};
  options.timestep_sampling = TimestepSampling::stratified;
  options.seed = ~std::uint64_t{0};
  options.adam.eps = 1e-7;
  options.horizontal_flip = true;
  std::map<std::string, std::string> text, again;
  write_config(options, "training", text);
  const auto read = read_config<TrainerOptions>(text, "training", "test");
  write_config(read, "training", again);
  CHECK(text == again);
  CHECK(read.seed == options.seed);
  CHECK(read.loss.loss == Loss::min_snr);
  CHECK(read.max_grad_norm == options.max_grad_norm);
  TrainerOptions changed = options;  // every field is in the text
  int fields = 0;
  TrainerOptions::fields(changed, [&](const char*, auto&) { ++fields; });
  CHECK(std::size_t(fields) == text.size());
}

TEST_CASE("trainer: the first update of a warm-up has rate 0") {
  const auto images = random_tensor<float>({4, 8, 8, 1}, 1);
  const UNet<float> net(small, Rng(1));
  const auto before = net.conv_in.weight.value().clone();
  auto options = quiet(1);
  options.warmup_steps = 10;
  Trainer<float>(net, Scheduler<float>(), options).fit(images);
  CHECK(same_bits(before, net.conv_in.weight.value()));
}

TEST_CASE("trainer: after a cosine a second fit begins a new one") {
  const auto images = random_tensor<float>({4, 8, 8, 1}, 1);
  const UNet<float> net(small, Rng(1));
  auto options = quiet(4);
  options.decay = optim::Decay::cosine;
  options.warmup_steps = 2;
  std::vector<double> rates;
  Trainer<float> trainer(net, Scheduler<float>(), options);
  const auto keep = [&](auto&, const TrainingStep& step) { rates.push_back(step.learning_rate); };
  trainer.fit(images, keep);
  trainer.fit(images, keep);
  const double half = 0.5 * 2e-3 * (1 + std::cos(std::numbers::pi / 4));
  CHECK(rates[0] == 0);
  CHECK(rates[2] == 2e-3);
  CHECK(rates[4] == 2e-3);
  CHECK(rates[5] == doctest::Approx(half));
  for (std::size_t i = 1; i < 8; ++i) CHECK(rates[i] > 0);
}

TEST_CASE("trainer: both networks learn the images' size") {
  const UNet<float> net(small, Rng(1));
  Trainer<float> trainer(net, Scheduler<float>(), quiet(1));
  trainer.fit(random_tensor<float>({4, 10, 7, 1}, 1));
  CHECK(trainer.model().sample_shape(1) == Shape{1, 10, 7, 1});
  CHECK(trainer.ema_model().sample_shape(1) == Shape{1, 10, 7, 1});
}

TEST_CASE("trainer: bytes instead of [-1, 1], and absurd learning rates, are named") {
  const UNet<float> net(small, Rng(1));
  const auto before = net.conv_in.weight.value().clone();
  auto images = random_tensor<float>({4, 8, 8, 1}, 1);
  images[100] = 255;
  Trainer<float> trainer(net, Scheduler<float>(), quiet(5));
  CHECK(contains(error_of<PreconditionError>([&] { trainer.fit(images); }),
                 "a pixel is 255, expected [-1, 1]"));
  CHECK(same_bits(before, net.conv_in.weight.value()));
  for (const double rate : {1.5, 1e6, 3e38, 1e300}) {
    auto options = quiet(1);
    options.learning_rate = rate;
    CHECK(contains(
        error_of<PreconditionError>([&] { Trainer<float>(net, Scheduler<float>(), options); }),
        "learning_rate is"));
  }
}

TEST_CASE("trainer: whatever the options, the weights stay finite or training stops") {
  const auto images = random_tensor<float>({4, 8, 8, 1}, 1);
  for (const double rate : {1e-3, 0.1, 1.0})
    for (const double decay : {0.0, 1.0, 1e3})
      for (const double eps : {1e-8, 1e-30}) {
        const UNet<float> net(small, Rng(1));
        auto options = quiet(6);
        options.learning_rate = rate;
        options.adam.weight_decay = decay;
        options.adam.eps = eps;
        options.max_grad_norm = std::numeric_limits<double>::infinity();
        try {
          Trainer<float>(net, Scheduler<float>(), options).fit(images);
        } catch (const NonFiniteError&) {
        }
        for (const auto& parameter : nn::parameters<float>(net))
          for (const float w : parameter.value()) REQUIRE(std::isfinite(w));
      }
}

TEST_CASE("trainer: a loss or gradient that is not finite stops with step and name") {
  auto images = random_tensor<float>({4, 8, 8, 1}, 1);
  images[17] = std::nanf("");
  const UNet<float> net(small, Rng(1));
  const auto before = net.conv_in.weight.value().clone();
  Trainer<float> trainer(net, Scheduler<float>(), quiet(5));
  const std::string text = error_of<NonFiniteError>([&] { trainer.fit(images); });
  CHECK(contains(text, "the loss of step 1 is"));
  CHECK(contains(text, "nan"));  // with the sign that the machine gave it
  CHECK(same_bits(before, net.conv_in.weight.value()));
}

TEST_CASE("trainer: absurd options and data are named") {
  const UNet<float> net(small, Rng(1));
  const auto make = [&](auto change) {
    auto options = quiet(1);
    change(options);
    return error_of<PreconditionError>([&] { Trainer<float>(net, Scheduler<float>(), options); });
  };
  using O = TrainerOptions;
  CHECK(contains(make([](O& o) { o.batch_size = 0; }), "batch_size is 0"));
  CHECK(contains(make([](O& o) { o.steps = 0; }), "steps is 0"));
  CHECK(contains(make([](O& o) { o.learning_rate = std::nan(""); }), "base is nan"));
  CHECK(contains(make([](O& o) { o.warmup_steps = -1; }), "warmup_steps is -1"));
  CHECK(contains(make([](O& o) { o.accumulation = 0; }), "accumulation is 0"));
  CHECK(contains(make([](O& o) { o.max_grad_norm = -1; }), "max_grad_norm is -1"));
  CHECK(contains(make([](O& o) { o.ema_decay = 1; }), "decay is 1"));
  CHECK(contains(make([](O& o) { o.adam.beta1 = 2; }), "beta1 is 2"));
  Trainer<float> trainer(net, Scheduler<float>(), quiet(1));
  CHECK_THROWS_AS(trainer.fit(Tensor<float>({0, 8, 8, 1})), PreconditionError);
  CHECK_THROWS_AS(trainer.fit(Tensor<float>({2, 8, 8, 3}, 0.0F)), PreconditionError);
  CHECK_THROWS_AS(trainer.fit(Tensor<float>({2, 1, 8, 1}, 0.0F)), PreconditionError);
  CHECK_THROWS_AS(trainer.fit(Tensor<float>()), PreconditionError);
}
