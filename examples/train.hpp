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
  Index classes = 0;             ///< of the labels that the program loads; 0: none
  bool cosine = false;
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
  add_class_options(app, s.grid);
  app.add_option("--timesteps", s.scheduler.timesteps, "number of timesteps of the process");
  add_enum_option(app, "--schedule", s.scheduler.schedule, "how the noise grows");
  add_enum_option(app, "--prediction", s.scheduler.prediction,
                  "what the network is trained to tell");
  app.add_flag("--zero-terminal-snr", s.scheduler.zero_terminal_snr,
               "rescale the betas: no signal at the last timestep");
  add_enum_option(app, "--variance", s.scheduler.variance,
                  "variance of the reverse steps; learned ones need --loss hybrid or kl");
  add_enum_option(app, "--loss", s.trainer.loss.loss, "what training makes small");
  add_enum_option(app, "--timestep-sampling", s.trainer.timestep_sampling,
                  "how timesteps are drawn");
  app.add_option("--label-dropout", s.trainer.label_dropout,
                 "share of labels hidden, for guidance");
  app.add_option("--seed", s.trainer.seed, "of weights, data order, noise and samples");
  app.add_option("--threads", s.threads, "0: as many as processors");
}

namespace detail {

inline void echo_settings(const TrainSettings& s, const Tensor<float>& images, Index parameters) {
  // What the checkpoint will say of the process, in its words.
  std::map<std::string, std::string> process;
  write_config(s.scheduler, "scheduler", process);
  std::cout << "settings\n";
  echo("images", images.shape());
  echo("network", s.network, ", ", parameters, " parameters");
  echo("batch", s.trainer.batch_size, " x ", s.trainer.accumulation);
  if (s.classes > 0) echo("classes", s.classes);
  echo("steps", s.trainer.steps);
  if (s.minutes > 0) echo("minutes", "at most ", s.minutes);
  echo("learning rate", s.trainer.learning_rate, ", warm-up ", s.trainer.warmup_steps,
       s.trainer.decay == optim::Decay::cosine ? ", then half a cosine" : "");
  echo("ema", s.trainer.ema_decay);
  for (const char* field : {"timesteps", "schedule", "prediction", "variance"})
    echo(field, process[message("scheduler.", field)]);
  echo("loss", name_of(s.trainer.loss.loss), ", timesteps ", name_of(s.trainer.timestep_sampling));
  if (s.classes > 0) echo("labels hidden", s.trainer.label_dropout);
  echo("flip", s.trainer.horizontal_flip ? "yes" : "no");
  echo("seed", s.trainer.seed);
  echo("threads", num_threads());
  echo("out", s.out);
  std::cout << std::flush;
}

template <class Network>
void train(const Network& network, const TrainSettings& settings,
           const data::LabelledImages<float>& images) {
  const Scheduler<float> scheduler(settings.scheduler);
  echo_settings(settings, images.images, nn::parameter_count<float>(network));
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
  if (grid.labels.empty())
    for (Index label = 0; label < settings.classes; ++label) grid.labels.push_back(label);
  check_sampling(network, scheduler, grid);  // before hours of training
  echo_sampling(grid, scheduler.timesteps());
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
inline int train_program(TrainSettings settings,
                         const std::function<data::LabelledImages<float>()>& load) {
  return report_errors([&] {
    if (settings.cosine) settings.trainer.decay = optim::Decay::cosine;
    if (settings.threads != 0) set_num_threads(settings.threads);
    require(settings.samples >= 1, "--samples is ", settings.samples, ", expected at least 1");
    require(settings.limit >= 0, "--limit is ", settings.limit, ", must not be negative");
    require(settings.minutes >= 0, "--minutes is ", settings.minutes, ", must not be negative");
    auto images = load();
    if (settings.classes == 0) images.labels.clear();
    if (settings.limit > 0) images = images_from(images, 0, settings.limit);
    const auto complete = [&](auto& config) {
      config.image_channels = images.images.dim(3);
      config.classes = settings.classes;
      config.learn_variance = settings.scheduler.variance == Variance::learned ||
                              settings.scheduler.variance == Variance::learned_range;
    };
    const Rng rng(settings.trainer.seed);
    if (settings.network == "tutorial") {
      auto config = TutorialUNetConfig::tutorial();
      complete(config);
      detail::train(TutorialUNet<float>(config, rng), settings, images);
      return;
    }
    auto config = settings.network == "tiny"          ? UNetConfig::tiny()
                  : settings.network == "mnist_small" ? UNetConfig::mnist_small()
                                                      : UNetConfig::ho2020_cifar10();
    complete(config);
    detail::train(UNet<float>(config, rng), settings, images);
  });
}

}  // namespace examples
