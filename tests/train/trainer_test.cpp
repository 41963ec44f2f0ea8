#include "ddpm/train/trainer.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/train/checkpoint.hpp"

using namespace test;

namespace {

const UNetConfig small{.image_channels = 1,
                       .channels = 8,
                       .multipliers = {1, 2},
                       .blocks = 1,
                       .groups = 4,
                       .dropout = 0.1};

TrainerOptions quiet(Index steps) {
  TrainerOptions options;
  options.batch_size = 4;
  options.steps = steps;
  options.learning_rate = 2e-3;
  options.progress = Progress::silent;
  return options;
}

/// Weights, losses and samples of a short training run.
struct Run {
  std::vector<double> losses;
  std::vector<Tensor<float>> weights;
  Tensor<float> samples;
};

Run run(const TrainerOptions& options, const Tensor<float>& images) {
  Run result;
  const UNet<float> net(small, Rng(1));
  TrainerOptions with_losses = options;
  with_losses.on_step = [&](const TrainingStep& step) { result.losses.push_back(step.loss); };
  const Scheduler<float> scheduler({.timesteps = 20});
  Trainer<float> trainer(net, scheduler, with_losses);
  trainer.fit(images);
  for (const auto& parameter : nn::parameters<float>(net))
    result.weights.push_back(parameter.value());
  result.samples = sample(trainer.ema_model(), scheduler, {.count = 3, .seed = 5});
  return result;
}

}  // namespace

TEST_CASE("trainer: losses, weights and samples are the same bits at any number of threads") {
  const auto images = random_tensor<float>({9, 10, 7, 1}, 1);
  set_num_threads(1);
  const Run one = run(quiet(4), images);
  for (const int threads : {2, 3, 4, 8}) {
    set_num_threads(threads);
    const Run many = run(quiet(4), images);
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
  options.on_step = [&](const TrainingStep& step) { loss = 0.95 * loss + 0.05 * step.loss; };
  Trainer<float> trainer(net, scheduler, options);
  trainer.fit(images);
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
  whole.on_step = [&](const TrainingStep& step) { losses_a.push_back(step.loss); };
  parts.on_step = [&](const TrainingStep& step) { losses_b.push_back(step.loss); };
  Trainer<float>(a, scheduler, whole).fit(images);
  Trainer<float>(b, scheduler, parts).fit(images);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(losses_a[i] == doctest::Approx(losses_b[i]).epsilon(1e-4));
}

TEST_CASE("trainer: a second fit goes on from the first, callbacks come when they should") {
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  const Run whole = run(quiet(6), images);
  const UNet<float> net(small, Rng(1));
  std::vector<double> losses;
  std::vector<Index> sampled;
  auto options = quiet(3);
  options.sample_every = 2;
  options.on_step = [&](const TrainingStep& step) {
    losses.push_back(step.loss);
    CHECK(step.step == Index(losses.size()));
    CHECK(step.gradient_norm > 0);
    CHECK(step.learning_rate == 2e-3);
  };
  options.on_sample = [&](Index step) { sampled.push_back(step); };
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), options);
  trainer.fit(images);
  trainer.fit(images);
  CHECK(losses == whole.losses);
  CHECK(sampled == std::vector<Index>{2, 5});
  CHECK(trainer.steps() == 6);
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

TEST_CASE("checkpoint: network and scheduler come back") {
  const TemporaryFolder folder;
  const auto path = folder.path / "model.safetensors";
  const UNet<float> net(small, Rng(3));
  const Scheduler<float> scheduler(
      {.timesteps = 50, .variance = Variance::fixed_large, .clip_sample = false});
  save_checkpoint(path, net, scheduler);
  const auto loaded = load_checkpoint<float, UNet<float>>(path);
  CHECK(loaded.scheduler.timesteps() == 50);
  CHECK(loaded.scheduler.config().variance == Variance::fixed_large);
  CHECK_FALSE(loaded.scheduler.config().clip_sample);
  CHECK(loaded.network.config.multipliers == small.multipliers);
  CHECK(loaded.network.config.dropout == small.dropout);
  CHECK(same_bits(sample(net, scheduler, {.count = 1}),
                  sample(loaded.network, loaded.scheduler, {.count = 1})));
  // A double network takes float weights.
  CHECK(load_checkpoint<double, UNet<double>>(path).network.conv_in.weight.value()[0] ==
        double(net.conv_in.weight.value()[0]));
}

TEST_CASE("checkpoint: another network's file, and files that are none") {
  const TemporaryFolder folder;
  const auto path = folder.path / "model.safetensors";
  const UNet<float> net(small, Rng(3));
  save_checkpoint(path, net, Scheduler<float>());
  CHECK(contains(error_of<IoError>([&] { load_checkpoint<float, TutorialUNet<float>>(path); }),
                 "holds a UNet, expected a TutorialUNet"));
  UNetConfig wider = small;
  wider.channels = 16;
  wider.attention_levels = {};
  const UNet<float> other(wider, Rng(1));
  const auto before = other.conv_in.weight.value().clone();
  const auto file = io::Safetensors::read(path);
  const std::string text = error_of<IoError>([&] { load_weights<float>(file, "model", other); });
  CHECK(contains(text, "shape: conv_in.weight is (3, 3, 1, 8), expected (3, 3, 1, 16)"));
  CHECK(contains(text, "unknown: down.1.stages.0.attention.qkv.weight"));
  CHECK(same_bits(before, other.conv_in.weight.value()));

  io::write_safetensors<float>(path, {{"a", Tensor<float>({1}, 0.0F)}});
  CHECK(contains(error_of<IoError>([&] { load_checkpoint<float, UNet<float>>(path); }),
                 "names no network"));
  const auto error = [&](const io::Metadata& fields) {
    io::Metadata metadata = fields;
    metadata["network"] = "UNet";
    io::write_safetensors<float>(path, {}, metadata);
    return error_of<IoError>([&] { load_checkpoint<float, UNet<float>>(path); });
  };
  CHECK(contains(error({}), "has no 'network.image_channels'"));
  io::Metadata fields;
  write_config(small, "network", fields);
  write_config(SchedulerConfig(), "scheduler", fields);
  const auto with = [&](const char* key, const char* value) {
    io::Metadata changed = fields;
    changed[key] = value;
    return error(changed);
  };
  CHECK(contains(with("network.channels", "many"), "'network.channels' is 'many'"));
  CHECK(contains(with("network.flux", "1"), "'network.flux' is not known to this version"));
  // A field of later versions has its default: this file lacks the weights alone. Others must be
  // there, or a file would be sampled with another process than it was trained with.
  fields.erase("network.classes");
  CHECK(contains(error(fields), "missing: conv_in.weight (3, 3, 1, 8)"));
  fields.erase("scheduler.scale_range");
  CHECK(contains(error(fields), "has no 'scheduler.scale_range'"));
}
