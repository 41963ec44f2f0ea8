// The training program behind train_mnist, train_cifar10 and train_folder: one command line, one
// loop; the programs differ in their data and defaults.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <limits>

#include <ctime>

#include "common.hpp"

namespace examples {

struct TrainSettings {
  std::string network = "auto";        ///< a preset's name; auto: chosen by the size of the data
  std::string usual_network = "tiny";  ///< what auto takes, except for few images
  std::string out = "out";             ///< folder for pictures and weights
  Index limit = 0;                     ///< images to use; 0: all
  double minutes = 0;                  ///< stop after so long; 0: by steps only
  Index sample_every = 0;              ///< updates between grids; 0: only at the end
  Index samples = 64;                  ///< pictures in each grid
  int threads = 0;                     ///< 0: as many as processors
  Index classes = 0;                   ///< of the labels that the program loads; 0: none
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

/// Adds all options but those of the data. The choice of the sampler refers to the settings.
inline SamplerChoice add_options(CLI::App& app, TrainSettings& s) {
  // The last one counts, so that scripts can put a user's options behind their own.
  app.option_defaults()->always_capture_default()->multi_option_policy(
      CLI::MultiOptionPolicy::TakeLast);
  app.add_option(
         "--network", s.network,
         message("the network; auto: tiny for less than 2000 images, else ", s.usual_network))
      ->check(CLI::IsMember({"auto", "tiny", "mnist_small", "ho2020_cifar10", "tutorial"}));
  app.add_option("--out", s.out, "folder that gets samples.png, strip.png and model.safetensors");
  app.add_option("--steps", s.trainer.steps, "number of updates of the weights");
  app.add_option("--minutes", s.minutes,
                 "train for at most so many minutes, with as many updates as fit; 0: no limit");
  app.add_option("--batch", s.trainer.batch_size, "number of images in one forward pass");
  app.add_option("--accumulation", s.trainer.accumulation,
                 "number of batches whose gradients make one update");
  app.add_option("--learning-rate", s.trainer.learning_rate,
                 "learning rate of Adam after the warm-up, at most 1");
  app.add_option("--warmup", s.trainer.warmup_steps,
                 "number of updates until the learning rate is reached");
  app.add_flag("--cosine", s.cosine, "let the learning rate fall to 0 along half a cosine");
  app.add_option("--ema", s.trainer.ema_decay,
                 "decay of the average of the weights, at least 0 and below 1");
  app.add_flag("--flip,!--no-flip", s.trainer.horizontal_flip,
               "mirror images at random, or do not");
  app.add_option("--limit", s.limit, "use only the first so many images; 0: all of them");
  app.add_option("--samples", s.samples, "number of pictures in a grid");
  app.add_option("--sample-every", s.sample_every,
                 "number of updates between grids; 0: a grid only at the end");
  const SamplerChoice sampler(app, s.grid);
  add_class_options(app, s.grid);
  app.add_option("--timesteps", s.scheduler.timesteps, "number of timesteps of the process");
  add_enum_option(app, "--schedule", s.scheduler.schedule, "how the noise grows");
  add_enum_option(app, "--prediction", s.scheduler.prediction,
                  "what the network is trained to tell");
  app.add_flag("--zero-terminal-snr", s.scheduler.zero_terminal_snr,
               "rescale the betas, so that no signal is left at the last timestep");
  add_enum_option(app, "--variance", s.scheduler.variance,
                  "variance of the reverse steps; learned ones need --loss hybrid or kl");
  add_enum_option(app, "--loss", s.trainer.loss.loss, "what training makes small");
  add_enum_option(app, "--timestep-sampling", s.trainer.timestep_sampling,
                  "how timesteps are drawn");
  app.add_option("--label-dropout", s.trainer.label_dropout,
                 "share of the labels that the network does not see, which --guidance needs");
  app.add_option("--seed", s.trainer.seed,
                 "seed of the weights, the order of the data, the noise and the pictures");
  app.add_option("--threads", s.threads, "threads that work; 0: as many as processors");
  return sampler;
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

/// Watches the clock of a run: fits the number of updates into the time given, and says once what
/// to expect.
class Plan {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Plan(double minutes) : seconds_(60 * minutes) {}

  double elapsed() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  /// To be called after every update.
  template <class Trainer>
  void follow(Trainer& trainer, Index step, Index wanted) {
    if (step == 1) first_ = elapsed();  // the first update warms up
    if (step < 6) return;
    const double each = (elapsed() - first_) / static_cast<double>(step - 1);
    const auto fit = [&] {
      return std::max(step, step + static_cast<Index>((seconds_ - elapsed()) / each));
    };
    if (step == 6) {
      const Index steps = seconds_ > 0 ? std::min(wanted, fit()) : wanted;
      tell(steps, each);
      trainer.set_steps(steps);
    } else if (seconds_ > 0 && elapsed() > next_) {
      next_ = elapsed() + seconds_ / 20;
      trainer.set_steps(std::min(wanted, fit()));
    }
    if (seconds_ > 0 && elapsed() > seconds_) trainer.stop();
  }

 private:
  static std::string time_in(double seconds) {
    const std::time_t then = std::time(nullptr) + static_cast<std::time_t>(seconds);
    char text[16];
    std::strftime(text, sizeof text, "%H:%M", std::localtime(&then));
    return text;
  }

  /// Shapes show after some hundred updates of batches of 32, pictures worth keeping after a
  /// thousand or more (seen on Fashion-MNIST, MNIST and CIFAR-10).
  void tell(Index steps, double each) const {
    constexpr Index pictures = 1000;
    const auto minutes = [&](Index count) {
      return std::lround(std::ceil(static_cast<double>(count) * each / 60));
    };
    std::string text =
        message(steps, seconds_ > 0 ? " updates fit" : " updates", ", about ", minutes(steps),
                " min, until ", time_in(static_cast<double>(steps) * each));
    if (steps < pictures)
      text += message("; few: expect blurs and noise. Good pictures take ", pictures,
                      " updates or more, here ", minutes(pictures), " min");
    // On a terminal the bar stands on this line.
    std::cerr << (::isatty(STDERR_FILENO) == 1 ? "\n" : "") << text << '\n';
  }

  double seconds_;
  Clock::time_point start_ = Clock::now();
  double first_ = 0, next_ = 0;
};

template <class Network, class Data>
void train(const Network& network, const TrainSettings& settings, const Data& images) {
  const Scheduler<float> scheduler(settings.scheduler);
  echo_settings(settings, images, nn::parameter_count<float>(network));
  check_writable(settings.out);
  const auto path = [&](const std::string& name) { return settings.out + "/" + name; };
  const SampleOptions grid = grid_options(settings);
  check_sampling(network, scheduler, grid);  // before hours of training
  echo_sampling(grid, scheduler.timesteps());

  double recent = 0, weight = 0;  // mean loss, the last hundred updates or so
  Trainer<float, Network> trainer(network, scheduler, settings.trainer);
  Plan plan(settings.minutes);
  trainer.fit(images, [&](auto& running, const TrainingStep& step) {
    recent = 0.99 * recent + 0.01 * step.loss;
    weight = 0.99 * weight + 0.01;
    plan.follow(running, step.step, settings.trainer.steps);
    if (settings.sample_every == 0 || step.step % settings.sample_every != 0) return;
    try {
      write_samples(running.ema_model(), scheduler, grid,
                    path(message("samples-", step.step, ".png")));
    } catch (const NonFiniteError& error) {  // no reason to lose the training
      std::cerr << "\nno picture: " << error.what() << '\n';
    }
  });
  std::cout << "trained " << trainer.steps() << " steps in " << message(plan.elapsed())
            << " s, mean loss of the last hundred " << message(recent / weight) << '\n';
  save_checkpoint(path("model.safetensors"), trainer.ema_model(), scheduler);
  std::cout << "wrote " << path("model.safetensors") << '\n' << std::flush;
  write_samples(trainer.ema_model(), scheduler, grid, path("samples.png"), path("strip.png"));
}

}  // namespace detail

/// Trains the network that the settings name on the data set that load() gives, and writes what
/// came of it.
template <class Load>
int train_program(TrainSettings& settings, const SamplerChoice& sampler, const Load& load) {
  return report_errors([&] {
    if (settings.cosine) settings.trainer.decay = optim::Decay::cosine;
    if (settings.threads != 0) set_num_threads(settings.threads);
    require(settings.samples >= 1, "--samples is ", settings.samples, ", expected at least 1");
    require(settings.limit >= 0, "--limit is ", settings.limit, ", must not be negative");
    require(settings.minutes >= 0, "--minutes is ", settings.minutes, ", must not be negative");
    require(settings.sample_every >= 0, "--sample-every is ", settings.sample_every,
            ", must not be negative");
    sampler.complete(NoiseSchedule(settings.scheduler));
    const auto all = load();
    const Index limit = settings.limit > 0 ? std::min(settings.limit, all.size()) : all.size();
    const data::Subset images(all, 0, limit);
    if (settings.network == "auto")
      settings.network = limit < 2000 ? "tiny" : settings.usual_network;
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
