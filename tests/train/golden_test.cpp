#include "ddpm/nn/tutorial_unet.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

template <class Network>
std::vector<double> losses(const Network& network, const SchedulerConfig& process,
                           TrainerOptions options) {
  options.steps = 3;
  options.batch_size = 3;
  options.learning_rate = 1e-2;
  options.seed = 5;
  options.progress = Progress::silent;
  data::LabelledImages<float> set{random_tensor<float>({7, 12, 12, 1}, 4), {}};
  if (network.classes() > 0) set.labels = {0, 1, 2, 0, 1, 2, 0};
  Trainer<float, Network> trainer(network, Scheduler<float>(process), options);
  std::vector<double> result;
  trainer.fit(set, [&](auto&, const TrainingStep& step) { result.push_back(step.loss); });
  return result;
}

void check_close(const std::vector<double>& losses, const std::vector<double>& golden) {
  REQUIRE(losses.size() == golden.size());
  for (std::size_t i = 0; i < losses.size(); ++i) {
    CAPTURE(losses[i]);
    CHECK(losses[i] == doctest::Approx(golden[i]).epsilon(1e-4));
  }
}

}  // namespace

// The order of sums differs between the widths of vectors, so the last digits may.
TEST_CASE("golden [DT-3]: the first losses, on every kind of processor") {
  UNetConfig config = small;
  check_close(losses(UNet<float>(config, Rng(1)), {}, {}), {0.949532, 0.826898, 0.665652});
  config.image.classes = 3;
  config.image.learn_variance = true;
  check_close(losses(UNet<float>(config, Rng(2)),
                     {.schedule = BetaSchedule::cosine, .variance = Variance::learned_range},
                     {.accumulation = 2, .loss = {Loss::hybrid}, .horizontal_flip = true}),
              {0.962162, 1.16654, 0.915354});
  const TutorialUNet<float> tutorial(
      {.image = {.channels = 1}, .levels = {8, 16}, .heads = 2, .groups = 4}, Rng(3));
  check_close(losses(tutorial, {.prediction = Prediction::v}, {.loss = {Loss::min_snr}}),
              {0.255463, 0.00011989, 0.105771});
}
