// The training program behind train_mnist, train_cifar10 and train_folder: one command line, one
// loop; the programs differ in their data and defaults.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <limits>

#include "common.hpp"

namespace examples {

struct TrainSettings {
  std::string network = "tiny";  ///< a preset's name
  std::string out = "out";       ///< folder for pictures and weights
  Index limit = 0;               ///< images to use; 0: all
  double minutes = 0;            ///< stop after so long; 0: by steps only
  Index sample_every = 0;        ///< updates between grids; 0: only at the end
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
  app.add_option("--sample-every", s.sample_every, "updates between grids; 0: only at the end");
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

template <class Data>
void echo_settings(const TrainSettings& s, const Data& images, Index parameters) {
  // What the checkpoint will say of the process, in its words.
  std::map<std::string, std::string> process;
  write_config(s.scheduler, "scheduler", process);
  std::cout << "settings\n";
  echo("images", images.size(), " of ", images.image_shape());
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

/// The options of the grids that a run draws.
inline SampleOptions grid_options(const TrainSettings& settings) {
  SampleOptions grid = settings.grid;
  grid.count = settings.samples;
  grid.seed = settings.trainer.seed;
  if (grid.labels.empty())
    for (Index label = 0; label < settings.classes; ++label) grid.labels.push_back(label);
  return grid;
}

template <class Network, class Data>
void train(const Network& network, const TrainSettings& settings, const Data& images) {
  const Scheduler<float> scheduler(settings.scheduler);
  echo_settings(settings, images, nn::parameter_count<float>(network));
  std::filesystem::create_directories(settings.out);
  const auto path = [&](const std::string& name) { return settings.out + "/" + name; };
  const SampleOptions grid = grid_options(settings);
  check_sampling(network, scheduler, grid);  // before hours of training
  echo_sampling(grid, scheduler.timesteps());

  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  double recent = 0, weight = 0;  // mean loss, the last hundred updates or so
  Trainer<float, Network> trainer(network, scheduler, settings.trainer);
  trainer.fit(images, [&](auto& running, const TrainingStep& step) {
    recent = 0.99 * recent + 0.01 * step.loss;
    weight = 0.99 * weight + 0.01;
    if (settings.sample_every > 0 && step.step % settings.sample_every == 0)
      write_samples(running.ema_model(), scheduler, grid,
                    path(message("samples-", step.step, ".png")));
    if (settings.minutes > 0 && Clock::now() - start > settings.minutes * std::chrono::minutes(1))
      running.stop();
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::cout << "trained " << trainer.steps() << " steps in " << message(seconds)
            << " s, mean loss of the last hundred " << message(recent / weight) << '\n';
  save_checkpoint(path("model.safetensors"), trainer.ema_model(), scheduler);
  std::cout << "wrote " << path("model.safetensors") << '\n' << std::flush;
  write_samples(trainer.ema_model(), scheduler, grid, path("samples.png"), path("strip.png"));
}

}  // namespace detail

/// Trains the network that the settings name on the data set that load() gives, and writes what
/// came of it.
template <class Load>
int train_program(TrainSettings settings, const Load& load) {
  return report_errors([&] {
    if (settings.cosine) settings.trainer.decay = optim::Decay::cosine;
    if (settings.threads != 0) set_num_threads(settings.threads);
    require(settings.samples >= 1, "--samples is ", settings.samples, ", expected at least 1");
    require(settings.limit >= 0, "--limit is ", settings.limit, ", must not be negative");
    require(settings.minutes >= 0, "--minutes is ", settings.minutes, ", must not be negative");
    require(settings.sample_every >= 0, "--sample-every is ", settings.sample_every,
            ", must not be negative");
    const auto all = load();
    const Index limit = settings.limit > 0 ? std::min(settings.limit, all.size()) : all.size();
    const data::Subset images(all, 0, limit);
    const auto complete = [&](auto config) {
      config.image.channels = images.image_shape()[2];
      config.image.classes = settings.classes;
      config.image.learn_variance = is_learned(settings.scheduler.variance);
      return config;
    };
    const Rng rng(settings.trainer.seed);
    if (settings.network == "tutorial") {
      const auto config = complete(TutorialUNetConfig::tutorial());
      return detail::train(TutorialUNet<float>(config, rng), settings, images);
    }
    const auto config = settings.network == "tiny"          ? UNetConfig::tiny()
                        : settings.network == "mnist_small" ? UNetConfig::mnist_small()
                                                            : UNetConfig::ho2020_cifar10();
    detail::train(UNet<float>(complete(config), rng), settings, images);
  });
}

}  // namespace examples
