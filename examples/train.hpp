// The training program behind train_mnist, train_cifar10 and train_folder: one command line, one
// loop; the programs differ in their data and defaults.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <functional>
#include <limits>

#include "common.hpp"

namespace examples {

struct TrainSettings {
  std::string network = "tiny";  ///< a preset's name
  std::string out = "out";       ///< folder for pictures and weights
  Index limit = 0;               ///< images to use; 0: all
  double minutes = 0;            ///< stop after so long; 0: by steps alone
  Index samples = 64;            ///< pictures in each grid
  int threads = 0;               ///< 0: as many as processors
  bool cosine = false, fixed_large = false;
  SampleOptions grid;  ///< sampler of the grids, and its steps
  SchedulerConfig scheduler;
  TrainerOptions trainer;

  TrainSettings() {
    trainer.batch_size = 32;
    trainer.steps = 3000;
    trainer.learning_rate = 1e-3;
    trainer.warmup_steps = 100;
    trainer.ema_decay = 0.999;
  }
};

inline void add_options(CLI::App& app, TrainSettings& s) {
  // The last one counts, so that scripts can put a user's options behind their own.
  app.option_defaults()->always_capture_default()->multi_option_policy(
      CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--network", s.network, "tiny, mnist_small, ho2020_cifar10 or tutorial")
      ->check(CLI::IsMember({"tiny", "mnist_small", "ho2020_cifar10", "tutorial"}));
  app.add_option("--out", s.out, "folder for samples.png, strip.png and model.safetensors");
  app.add_option("--steps", s.trainer.steps, "updates");
  app.add_option("--minutes", s.minutes, "stop training after so many minutes; 0: by steps alone");
  app.add_option("--batch", s.trainer.batch_size, "images of one forward pass");
  app.add_option("--accumulation", s.trainer.accumulation, "batches of one update");
  app.add_option("--learning-rate", s.trainer.learning_rate, "of Adam, after the warm-up");
  app.add_option("--warmup", s.trainer.warmup_steps, "updates until the full learning rate");
  app.add_flag("--cosine", s.cosine, "let the learning rate fall to 0 along half a cosine");
  app.add_option("--ema", s.trainer.ema_decay, "decay of the average of the weights");
  app.add_flag("--flip,!--no-flip", s.trainer.horizontal_flip, "mirror images at random");
  app.add_option("--limit", s.limit, "use the first so many images; 0: all");
  app.add_option("--samples", s.samples, "pictures in a grid");
  app.add_option("--sample-every", s.trainer.sample_every, "updates between grids; 0: at the end");
  add_sampler_options(app, s.grid);
  static const std::map<std::string, BetaSchedule> schedules{
      {"linear", BetaSchedule::linear},     {"quadratic", BetaSchedule::quadratic},
      {"constant", BetaSchedule::constant}, {"warmup10", BetaSchedule::warmup10},
      {"warmup50", BetaSchedule::warmup50}, {"jsd", BetaSchedule::jsd},
      {"cosine", BetaSchedule::cosine},     {"sigmoid", BetaSchedule::sigmoid}};
  static const std::map<std::string, Prediction> predictions{{"epsilon", Prediction::epsilon},
                                                             {"x_0", Prediction::x_0},
                                                             {"x_prev", Prediction::x_prev},
                                                             {"v", Prediction::v}};
  app.add_option("--timesteps", s.scheduler.timesteps, "T of the diffusion process");
  app.add_option("--schedule", s.scheduler.schedule, "of the betas")
      ->transform(CLI::CheckedTransformer(schedules));
  app.add_option("--prediction", s.scheduler.prediction, "what the network is trained to tell")
      ->transform(CLI::CheckedTransformer(predictions));
  app.add_flag("--zero-terminal-snr", s.scheduler.zero_terminal_snr,
               "rescale the betas: no signal at the last timestep");
  app.add_flag("--fixed-large", s.fixed_large, "sample with variance beta_t instead of beta~_t");
  app.add_option("--seed", s.trainer.seed, "of weights, data order, noise and samples");
  app.add_option("--threads", s.threads, "0: as many as processors");
}

namespace detail {

inline void echo_settings(const TrainSettings& s, const Tensor<float>& images, Index parameters) {
  std::cout << "settings\n";
  echo("images", images.shape());
  echo("network", s.network, ", ", parameters, " parameters");
  echo("batch", s.trainer.batch_size, " x ", s.trainer.accumulation);
  echo("steps", s.trainer.steps);
  if (s.minutes > 0) echo("minutes", "at most ", s.minutes);
  echo("learning rate", s.trainer.learning_rate, ", warm-up ", s.trainer.warmup_steps,
       s.trainer.decay == optim::Decay::cosine ? ", then half a cosine" : "");
  echo("ema", s.trainer.ema_decay);
  echo("flip", s.trainer.horizontal_flip ? "yes" : "no");
  echo("seed", s.trainer.seed);
  echo("threads", num_threads());
  echo("out", s.out);
  std::cout << std::flush;
}

template <class Network>
void train(const Network& network, const TrainSettings& settings, const Tensor<float>& images) {
  SchedulerConfig config = settings.scheduler;
  if (settings.fixed_large) config.variance = Variance::fixed_large;
  const Scheduler<float> scheduler(config);
  echo_settings(settings, images, nn::parameter_count<float>(network));
  std::filesystem::create_directories(settings.out);
  const auto path = [&](const std::string& name) { return settings.out + "/" + name; };

  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  TrainerOptions options = settings.trainer;
  double recent = 0, weight = 0;  // mean loss, the last hundred updates or so
  Index step = 0;
  options.on_step = [&](const TrainingStep& done) {
    recent = 0.99 * recent + 0.01 * done.loss;
    weight = 0.99 * weight + 0.01;
    step = done.step;
  };
  if (settings.minutes > 0)
    options.stop = [&](const TrainingStep&) {
      return Clock::now() - start > settings.minutes * std::chrono::minutes(1);
    };
  SampleOptions grid = settings.grid;
  grid.count = settings.samples;
  grid.seed = settings.trainer.seed;
  Trainer<float, Network>* running = nullptr;
  options.on_sample = [&](Index at) {
    write_samples(running->ema_model(), scheduler, grid, path(message("samples-", at, ".png")));
  };
  Trainer<float, Network> trainer(network, scheduler, options);
  running = &trainer;
  trainer.fit(images);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::cout << "trained " << step << " steps in " << message(seconds)
            << " s, mean loss of the last "
            << "hundred " << message(recent / weight) << '\n';
  save_checkpoint(path("model.safetensors"), trainer.ema_model(), scheduler);
  std::cout << "wrote " << path("model.safetensors") << '\n' << std::flush;
  write_samples(trainer.ema_model(), scheduler, grid, path("samples.png"), path("strip.png"));
}

}  // namespace detail

/// Trains the network that the settings name on images from `load`, and writes what came of it.
inline int train_program(TrainSettings settings, const std::function<Tensor<float>()>& load) {
  return report_errors([&] {
    if (settings.cosine) settings.trainer.decay = optim::Decay::cosine;
    if (settings.threads != 0) set_num_threads(settings.threads);
    require(settings.samples >= 1, "--samples is ", settings.samples, ", expected at least 1");
    require(settings.limit >= 0, "--limit is ", settings.limit, ", must not be negative");
    require(settings.minutes >= 0, "--minutes is ", settings.minutes, ", must not be negative");
    Tensor<float> images = load();
    if (settings.limit > 0 && settings.limit < images.dim(0)) {
      const View<float> part = images.slice(0, settings.limit);
      images = Tensor<float>(part.shape);
      std::copy(part.begin(), part.end(), images.begin());
    }
    const Rng rng(settings.trainer.seed);
    if (settings.network == "tutorial") {
      auto config = TutorialUNetConfig::tutorial();
      config.image_channels = images.dim(3);
      detail::train(TutorialUNet<float>(config, rng), settings, images);
      return;
    }
    auto config = settings.network == "tiny"          ? UNetConfig::tiny()
                  : settings.network == "mnist_small" ? UNetConfig::mnist_small()
                                                      : UNetConfig::ho2020_cifar10();
    config.image_channels = images.dim(3);
    detail::train(UNet<float>(config, rng), settings, images);
  });
}

}  // namespace examples
