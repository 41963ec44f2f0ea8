// The training program behind train_mnist, train_cifar10 and train_folder: one command line, one
// loop; the programs differ in their data and defaults.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <ctime>
#include <optional>

#include "common.hpp"
#include "nearest.hpp"
#include "ranks.hpp"
#include "report.hpp"

namespace examples {

struct TrainSettings {
  std::string network = "auto";        ///< a preset's name; auto: chosen by the size of the data
  std::string usual_network = "tiny";  ///< what auto takes, except for few images
  std::string from;                    ///< a checkpoint or folder of diffusers to begin with
  std::string out = "out";             ///< the run's folder: pictures, weights, run states
  bool resume = false;                 ///< there must be a run to go on with
  std::optional<std::filesystem::path> state = {};  ///< the run state to go on from
  bool network_told = false;                        ///< by the command line
  Index limit = 0;                                  ///< images to use; 0: all
  double minutes = 0;                               ///< stop after so long; 0: by steps only
  Index sample_every = 0;                           ///< updates between grids; 0: only at the end
  Index samples = 64;                               ///< pictures in each grid
  int threads = 0;                                  ///< 0: as many as processors
  Index classes = 0;  ///< of the labels that the program loads; 0: none
  bool cosine = false;
  SampleOptions grid;  ///< sampler of the grids, and its steps
  SchedulerConfig scheduler;
  TrainerOptions trainer;
  Ranks ranks;  ///< that make each update together

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
  const std::string few = s.usual_network == "tiny" ? "" : "tiny for less than 2000 images, else ";
  app.add_option("--network", s.network, message("the network; auto: ", few, s.usual_network))
      ->check(CLI::IsMember({"auto", "tiny", "mnist_small", "ho2020_cifar10", "tutorial"}));
  app.add_option("--from", s.from,
                 "begin with this network and its process, instead of a new one: " +
                     std::string(checkpoint_help));
  app.add_option("--out", s.out,
                 "the run's folder, which gets samples.png, strip.png, model.safetensors and run "
                 "states; a run that stopped there goes on, with its settings");
  app.add_flag("--resume", s.resume, "go on with the run in that folder, or fail if there is none");
  app.add_option("--save-minutes", s.trainer.save.minutes,
                 "minutes between two run states; 0: not by the clock");
  app.add_option("--save-steps", s.trainer.save.steps,
                 "updates between two run states; 0: not by their number");
  app.add_option("--keep", s.trainer.save.keep, "number of run states to keep, the newest");
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
  add_enum_option(app, "--precision", s.trainer.precision,
                  "what the factors of products are rounded to; the weights stay float32");
  app.add_option("--label-dropout", s.trainer.label_dropout,
                 "share of the labels that the network does not see, which --guidance needs");
  app.add_option("--seed", s.trainer.seed,
                 "seed of the weights, the order of the data, the noise and the pictures");
  add_enum_option(app, "--non-finite", s.trainer.non_finite,
                  "what to do with an update whose loss or gradient is not finite");
  app.add_option("--most-skipped", s.trainer.most_skipped,
                 "number of such updates in a row that do not yet end the training");
  app.add_option(
         "--memory", s.trainer.memory_limit,
         "memory that training may take, like 800M or 4G; 0: not limited. What it will take "
         "is known before the first update")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--threads", s.threads, "threads that work; 0: as many as processors");
  return sampler;
}

namespace detail {

/// Takes over the settings of a run that goes on.
inline void take_settings(const io::Safetensors& state, TrainSettings& s) {
  const std::string source = s.state->string();
  s.trainer = read_config(state.metadata(), "trainer", source, s.trainer);
  s.scheduler = read_config<SchedulerConfig>(state.metadata(), "scheduler", source);
  s.cosine = s.trainer.decay == optim::Decay::cosine;
}

}  // namespace detail

/// Reads the command line; what it leaves open follows from the run in the folder, if there is one.
/// The exit status if the program ends here.
inline std::optional<int> parse(CLI::App& app, TrainSettings& s, int count, char** arguments) {
  try {
    app.parse(count, arguments);
    s.state = latest_run_state(s.out);
    if (s.state) {
      detail::take_settings(io::Safetensors::read(*s.state), s);
      app.parse(count, arguments);  // what was told counts
    } else if (!s.from.empty()) {
      with_checkpoint(s.from, [&](const auto& model) { s.scheduler = model.scheduler.config(); });
      app.parse(count, arguments);
    }
    s.network_told = app.get_option("--network")->count() > 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return std::nullopt;
}

namespace detail {

/// A run's settings in words, for people and for its folder.
template <class Data>
std::vector<std::pair<std::string, std::string>> described(const TrainSettings& s,
                                                           const Data& images, Index parameters) {
  // What the checkpoint will say of the process, in its words.
  std::map<std::string, std::string> process;
  write_config(s.scheduler, "scheduler", process);
  std::vector<std::pair<std::string, std::string>> result;
  const auto add = [&](const char* name, const auto&... value) {
    result.emplace_back(name, message(value...));
  };
  add("images", images.size(), " of ", images.image_shape());
  add("network", s.network, ", ", parameters, " parameters");
  add("batch", s.trainer.batch_size, " x ", s.trainer.accumulation);
  if (s.ranks.size() > 1) add("ranks", s.ranks.size());
  if (s.classes > 0) add("classes", s.classes);
  add("steps", s.trainer.steps);
  if (s.minutes > 0) add("minutes", "at most ", s.minutes);
  add("learning rate", s.trainer.learning_rate, ", warm-up ", s.trainer.warmup_steps,
      s.trainer.decay == optim::Decay::cosine ? ", then half a cosine" : "");
  add("ema", s.trainer.ema_decay);
  for (const char* field : {"timesteps", "schedule", "prediction", "variance"})
    add(field, process[message("scheduler.", field)]);
  add("loss", name_of(s.trainer.loss.loss), ", timesteps ", name_of(s.trainer.timestep_sampling));
  if (s.classes > 0) add("labels hidden", s.trainer.label_dropout);
  add("precision", name_of(s.trainer.precision));
  add("flip", s.trainer.horizontal_flip ? "yes" : "no");
  add("seed", s.trainer.seed);
  add("threads", num_threads());
  return result;
}

/// The processor's name, where the system tells it.
inline std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      return line.substr(std::min(line.size(), line.find(": ") + 2));
  return "unknown";
}

/// Writes run.json: the settings, the machine, and the pictures' width over their height.
inline void write_run_json(const std::vector<std::pair<std::string, std::string>>& settings,
                           const Shape& image, const std::string& path) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : settings) json[name] = value;
  json["processor"] = processor();
  json["version"] = message(DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".", DDPM_VERSION_PATCH);
  json["aspect"] = static_cast<double>(image[1]) / static_cast<double>(image[0]);
  const std::string text =
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  io::write_file(path, text.data(), text.size());
}

/// The options of the grids that a run draws.
inline SampleOptions grid_options(const TrainSettings& settings) {
  SampleOptions grid = settings.grid;
  grid.count = settings.samples;
  grid.seed = settings.trainer.seed;
  grid.precision = settings.trainer.precision;
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
    if (++made_ == 1) first_ = elapsed();  // the first update warms up
    if (made_ < 6) return;
    const double each = (elapsed() - first_) / static_cast<double>(made_ - 1);
    const auto fit = [&] {
      return std::max(step, step + static_cast<Index>((seconds_ - elapsed()) / each));
    };
    if (made_ == 6) {
      const Index steps = seconds_ > 0 ? std::min(wanted, fit()) : wanted;
      tell(steps, steps - step, each);
      trainer.set_steps(steps);
    } else if (seconds_ > 0 && elapsed() > next_) {
      next_ = elapsed() + seconds_ / 20;
      trainer.set_steps(std::min(wanted, fit()));
    }
    if (seconds_ > 0 && elapsed() > seconds_) {
      over_ = true;
      trainer.stop();
    }
  }

  /// Whether the time is up, and training was stopped for that.
  bool over() const { return over_; }

 private:
  static std::string time_in(double seconds) {
    const std::time_t then = std::time(nullptr) + static_cast<std::time_t>(seconds);
    char text[16];
    std::strftime(text, sizeof text, "%H:%M", std::localtime(&then));
    return text;
  }

  /// Shapes show after some hundred updates of batches of 32, pictures worth keeping after a
  /// thousand or more (seen on Fashion-MNIST, MNIST and CIFAR-10).
  void tell(Index steps, Index left, double each) const {
    constexpr Index pictures = 1000;
    const auto minutes = [&](Index count) {
      return std::lround(std::ceil(static_cast<double>(count) * each / 60));
    };
    std::string text =
        message(steps, seconds_ > 0 ? " updates fit" : " updates", ", about ", minutes(left),
                " min, until ", time_in(static_cast<double>(left) * each));
    if (steps < pictures)
      text += message("; few: expect blurs and noise. Good pictures take ", pictures,
                      " updates or more, here ", minutes(pictures), " min");
    // On a terminal the bar stands on this line.
    std::cerr << (::isatty(STDERR_FILENO) == 1 ? "\n" : "") << text << '\n';
  }

  double seconds_;
  bool over_ = false;
  Clock::time_point start_ = Clock::now();
  double first_ = 0, next_ = 0;
  Index made_ = 0;  ///< updates, since this program started
};

/// Goes on from the run state of the settings.
template <class Trainer>
void resume(Trainer& trainer, const TrainSettings& settings) {
  try {
    trainer.resume(*settings.state);
  } catch (const IoError& error) {
    throw IoError(message(error.what(), "\nleave these options out to go on with the run in ",
                          settings.out, ", or give another --out to begin a new one"));
  }
  std::cout << "going on with " << settings.state->string() << ": " << trainer.steps()
            << " updates made\n"
            << std::flush;
}

/// A grid while training goes on.
template <class Trainer>
void draw_between(Trainer& trainer, const Scheduler<float>& scheduler, const SampleOptions& options,
                  const std::string& grid) {
  try {
    write_samples(trainer.ema_model(), scheduler, options, grid);
  } catch (const NonFiniteError& error) {  // no reason to lose the training
    std::cerr << "\nno picture: " << error.what() << '\n';
  } catch (const Interrupted&) {  // the caller stops the training
  }
}

/// Writes a grid of the first samples, and below each the training image that is nearest to it.
template <class Data>
void write_nearest(const Data& images, const Tensor<float>& samples, const std::string& path) {
  constexpr Index pictures = 8, looked_at = 20'000;
  const auto first = copy_of(samples.slice(0, std::min(pictures, samples.dim(0))));
  if (first.dim(1) != images.image_shape()[0] || first.dim(2) != images.image_shape()[1]) return;
  const auto nearest = nearest_images(images, first, looked_at);
  Tensor<float> both({2 * first.dim(0), first.dim(1), first.dim(2), first.dim(3)});
  std::copy(first.begin(), first.end(), both.begin());
  std::copy(nearest.begin(), nearest.end(), both.begin() + first.size());
  io::write_image_grid(path, both, first.dim(0), enlargement(first.shape()));
}

template <class Network, class Data>
void train(const Network& network, const TrainSettings& settings, const Data& images) {
  const Scheduler<float> scheduler(settings.scheduler);
  const auto words = described(settings, images, nn::parameter_count<float>(network));
  std::cout << "settings\n";
  for (const auto& [name, value] : words) echo(name.c_str(), value);
  echo("out", settings.out);
  std::cout << std::flush;
  const bool leads = settings.ranks.rank() == 0;  // writes files, and speaks
  if (leads) check_writable(settings.out);
  const auto path = [&](const std::string& name) { return settings.out + "/" + name; };
  const SampleOptions grid = grid_options(settings);
  check_sampling(network, scheduler, grid);  // before hours of training
  echo_sampling(grid, scheduler.timesteps());

  Ranks ranks = settings.ranks;
  Trainer<float, Network> trainer(network, scheduler, settings.trainer);
  if (ranks.size() > 1) trainer.distribute(ranks);
  if (settings.state) resume(trainer, settings);
  const MemoryNeed need = trainer.memory_need(images.image_shape());
  echo("memory", bytes_text(process_bytes() + need.step + need.saving), " at the peak of training");
  if (leads) write_run_json(words, images.image_shape(), path("run.json"));
  std::optional<MetricsLog> metrics;
  if (leads) metrics.emplace(settings.out, trainer.steps());
  Plan plan(settings.minutes);
  trainer.fit(images, [&](auto& running, const TrainingStep& step) {
    if (leads) {
      metrics->write(step, settings.trainer.batch_size * settings.trainer.accumulation);
      plan.follow(running, step.step, settings.trainer.steps);
      if (settings.sample_every > 0 && step.step % settings.sample_every == 0)
        draw_between(running, scheduler, grid, path(message("samples-", step.step, ".png")));
    }
    if (stop_signal() != 0) running.stop();  // and with it all ranks
  });
  if (!leads) return throw_if_interrupted();
  if (stop_signal() != 0 || (trainer.stopped() && !plan.over())) {
    std::cerr << message("\nstopped after ", trainer.steps(), " updates, all saved in ",
                         settings.out, "; the same command goes on\n");
    throw_if_interrupted();
    throw Interrupted{SIGTERM};  // which another rank got
  }
  std::cout << "trained " << trainer.steps() << " steps, the last in " << message(plan.elapsed())
            << " s, mean loss of the last hundred " << message(trainer.mean_loss());
  if (trainer.skipped() > 0) std::cout << ", " << trainer.skipped() << " updates left out";
  std::cout << '\n';
  save_checkpoint(path("model.safetensors"), trainer.ema_model(), scheduler);
  std::cout << "wrote " << path("model.safetensors") << '\n' << std::flush;
  const auto samples =
      write_samples(trainer.ema_model(), scheduler, grid, path("samples.png"), path("strip.png"));
  write_nearest(images, samples, path("nearest.png"));
  try {
    std::cout << "wrote " << write_report(settings.out).string() << '\n';
  } catch (const IoError& error) {  // all else is there
    std::cerr << "no report: " << error.what() << '\n';
  }
}

/// Begins with a network that was trained before.
template <class Data>
void train_from(TrainSettings& settings, const Data& images) {
  require(!settings.network_told, "--network ", settings.network, " and --from ", settings.from,
          ": give one of them");
  with_checkpoint(settings.from, [&](const auto& model) {
    require(settings.classes == model.network.classes(), "--from ", settings.from,
            ": a network of ", model.network.classes(), " classes, the labels have ",
            settings.classes);
    settings.network = settings.from;
    train(model.network, settings, images);
  });
}

/// Goes on with the network that the run state holds.
template <class Data>
void train_stored(TrainSettings& settings, const Data& images) {
  const std::string source = settings.state->string();
  const io::Safetensors file = io::Safetensors::read(source);
  const Rng rng(settings.trainer.seed);
  settings.network = checkpoint_network(file, source);
  const auto go_on = [&]<class Network>(std::type_identity<Network>) {
    const auto config = read_config<typename Network::Config>(file.metadata(), "network", source);
    io::check_config_size(config, file, source);
    const Network network(config, rng);
    try {
      train(network, settings, images);
    } catch (const PreconditionError& error) {
      throw PreconditionError(message(error.what(), "\n", settings.out,
                                      " holds a run already; give another --out to begin one"));
    }
  };
  if (settings.network == TutorialUNet<float>::network_name)
    go_on(std::type_identity<TutorialUNet<float>>());
  else
    go_on(std::type_identity<UNet<float>>());
}

/// The program, on each of its ranks.
template <class Load>
void run(TrainSettings& settings, const SamplerChoice& sampler, const Load& load) {
  if (settings.cosine) settings.trainer.decay = optim::Decay::cosine;
  if (settings.threads != 0) set_num_threads(settings.threads);
  if (settings.resume && !settings.state)
    throw IoError(message("--resume: ", settings.out, " holds no run state"));
  note_stop_signals();
  settings.trainer.save.folder = settings.out;
  require(settings.samples >= 1, "--samples is ", settings.samples, ", expected at least 1");
  require(settings.limit >= 0, "--limit is ", settings.limit, ", must not be negative");
  require(settings.minutes >= 0, "--minutes is ", settings.minutes, ", must not be negative");
  require(settings.sample_every >= 0, "--sample-every is ", settings.sample_every,
          ", must not be negative");
  sampler.complete(NoiseSchedule(settings.scheduler));
  const auto all = load();
  const Index limit = settings.limit > 0 ? std::min(settings.limit, all.size()) : all.size();
  const data::Subset images(all, 0, limit);
  if (settings.network == "auto") settings.network = limit < 2000 ? "tiny" : settings.usual_network;
  const auto complete = [&](auto config) {
    config.image.channels = images.image_shape()[2];
    config.image.classes = settings.classes;
    config.image.learn_variance = is_learned(settings.scheduler.variance);
    return config;
  };
  const Rng rng(settings.trainer.seed);
  if (settings.state && !settings.network_told) return train_stored(settings, images);
  if (!settings.from.empty()) return train_from(settings, images);
  if (settings.network == "tutorial") {
    const auto config = complete(TutorialUNetConfig::tutorial());
    return train(TutorialUNet<float>(config, rng), settings, images);
  }
  const auto config = settings.network == "tiny"          ? UNetConfig::tiny()
                      : settings.network == "mnist_small" ? UNetConfig::mnist_small()
                                                          : UNetConfig::ho2020_cifar10();
  train(UNet<float>(complete(config), rng), settings, images);
}

}  // namespace detail

/// Trains the network that the settings name on the data set that load() gives, and writes what
/// came of it.
template <class Load>
int train_program(TrainSettings& settings, const SamplerChoice& sampler, const Load& load) {
  return on_ranks([&](const Ranks& ranks) {
    settings.ranks = ranks;
    return report_errors([&] { detail::run(settings, sampler, load); });
  });
}

}  // namespace examples
