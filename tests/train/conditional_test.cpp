// Training with labels, and with losses and timesteps other than the paper's plain ones.
#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/checkpoint.hpp"
#include "ddpm/train/trainer.hpp"

using namespace test;

namespace {

const UNetConfig two_classes{.image = {.channels = 1, .classes = 2},
                             .channels = 8,
                             .multipliers = {1, 2},
                             .blocks = 1,
                             .groups = 4,
                             .dropout = 0};

TrainerOptions settings(Index steps) {
  TrainerOptions options;
  options.batch_size = 8;
  options.steps = steps;
  options.learning_rate = 3e-3;
  options.ema_decay = 0.9;
  options.progress = Progress::silent;
  return options;
}

/// Class 0 is dark, class 1 is bright.
data::LabelledImages<float> dark_and_bright() {
  data::LabelledImages<float> set{random_tensor<float>({16, 8, 8, 1}, 1), {}};
  for (Index n = 0; n < 16; ++n) {
    set.labels.push_back(n % 2);
    for (float& v : set.images.slice(n, 1)) v = 0.1F * v + (n % 2 == 0 ? -0.7F : 0.7F);
  }
  return set;
}

double mean(View<const float> values) {
  double sum = 0;
  for (const float v : values) sum += double(v);
  return sum / double(values.size());
}

/// The losses of a run, at `threads` threads.
std::vector<double> losses_of(const TrainerOptions& options, const SchedulerConfig& config,
                              int threads) {
  std::vector<double> losses;
  UNetConfig network = two_classes;
  network.image.learn_variance = config.variance == Variance::learned_range;
  set_num_threads(threads);
  Trainer<float>(UNet<float>(network, Rng(1)), Scheduler<float>(config), options)
      .fit(dark_and_bright(),
           [&](auto&, const TrainingStep& step) { losses.push_back(step.loss); });
  return losses;
}

}  // namespace

TEST_CASE("trainer: a network trained with labels draws the class asked for") {
  const TemporaryFolder folder;
  const UNet<float> net(two_classes, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 50});
  Trainer<float> trainer(net, scheduler, settings(400));
  trainer.fit(dark_and_bright());
  save_checkpoint(folder.path / "model", trainer.ema_model(), scheduler);
  const auto loaded = load_checkpoint<float, UNet<float>>(folder.path / "model");
  CHECK(loaded.network.classes() == 2);
  const auto samples = sample(loaded.network, loaded.scheduler, {.count = 8, .labels = {0, 1}});
  for (Index n = 0; n < 8; ++n) CHECK((mean(samples.slice(n, 1)) > 0) == (n % 2 == 1));
}

TEST_CASE("trainer: hidden labels teach what no class looks like") {
  // With every label hidden, the labels do not matter.
  auto hidden = settings(3);
  hidden.label_dropout = 1;
  const auto train = [&](const data::LabelledImages<float>& set, const TrainerOptions& options) {
    const UNet<float> net(two_classes, Rng(1));
    Trainer<float>(net, Scheduler<float>({.timesteps = 50}), options).fit(set);
    return net.conv_in.weight.value();
  };
  auto swapped = dark_and_bright();
  for (Index& label : swapped.labels) label = 1 - label;
  CHECK(same_bits(train(dark_and_bright(), hidden), train(swapped, hidden)));
  CHECK_FALSE(same_bits(train(dark_and_bright(), settings(3)), train(swapped, settings(3))));
}

TEST_CASE("trainer: labels that do not fit are named before anything is trained") {
  const Scheduler<float> scheduler;
  const auto error = [&](const UNetConfig& config, const data::LabelledImages<float>& set) {
    return error_of<PreconditionError>(
        [&] { Trainer<float>(UNet<float>(config, Rng(1)), scheduler, settings(1)).fit(set); });
  };
  auto wrong = dark_and_bright();
  wrong.labels[3] = 2;
  CHECK(contains(error(two_classes, wrong), "Trainer::fit: label 3 is 2, expected 0 to 1"));
  UNetConfig plain = two_classes;
  plain.image.classes = 0;
  CHECK(contains(error(plain, dark_and_bright()), "labels for a network without classes"));
  wrong.labels.pop_back();
  CHECK(contains(error(two_classes, wrong), "15 labels for 16 images"));
  auto options = settings(1);
  options.label_dropout = 1.5;
  CHECK(contains(error_of<PreconditionError>(
                     [&] { Trainer<float>(UNet<float>(two_classes, Rng(1)), scheduler, options); }),
                 "label_dropout is 1.5"));
}

TEST_CASE("trainer: every loss falls, to the same bits at any number of threads") {
  struct Case {
    Loss loss;
    SchedulerConfig scheduler;
  };
  const Case cases[] = {
      {Loss::min_snr, {.timesteps = 50, .prediction = Prediction::v}},
      {Loss::kl, {.timesteps = 50}},
      {Loss::kl, {.timesteps = 50, .variance = Variance::learned_range}},
      {Loss::hybrid, {.timesteps = 50, .variance = Variance::learned_range}},
  };
  for (const Case& c : cases) {
    CAPTURE(int(c.loss));
    auto options = settings(60);
    options.loss.loss = c.loss;
    const auto one = losses_of(options, c.scheduler, 1), two = losses_of(options, c.scheduler, 2);
    CHECK(one == two);
    const auto sum = [](auto first, auto last) { return std::accumulate(first, last, 0.0); };
    CHECK(sum(one.end() - 10, one.end()) < 0.8 * sum(one.begin(), one.begin() + 10));
  }
  set_num_threads(2);
}

TEST_CASE("trainer: stratified and importance-sampled timesteps") {
  for (const auto kind : {TimestepSampling::stratified, TimestepSampling::loss_second_moment}) {
    auto options = settings(60);  // 480 timesteps of 10: the importance sampler warms up on the way
    options.timestep_sampling = kind;
    const auto one = losses_of(options, {.timesteps = 10}, 1);
    CHECK(one == losses_of(options, {.timesteps = 10}, 3));
    CHECK(one.back() < one.front());
  }
  set_num_threads(2);
}
