// What the example programs share: the data option, the echo of settings, the denoising strip.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ddpm/ddpm.hpp>
#include <iostream>
#include <string>

#include "any_model.hpp"
#include "interrupt.hpp"
#include "ranks.hpp"

namespace examples {

using namespace ddpm;

/// Runs f() and turns an exception into a line on standard error and exit status 1; a signal into
/// the status that shells give, 130 or 143.
template <class F>
int report_errors(const F& f) {
  try {
    f();
    return 0;
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal;
  } catch (const std::bad_alloc&) {
    std::cerr << "error: not enough memory; a smaller batch or network needs less\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << message("error: ", error.what(), "\n");  // at once: other ranks may speak too
    return 1;
  }
}

/// What --help says of a checkpoint.
inline constexpr const char* checkpoint_help =
    "what a training wrote: model.safetensors, a run state, or the run's folder, of which the "
    "newest state is taken; the run may be going on. Or a folder of diffusers: a UNet2DModel, or "
    "a DDPM or DDIM pipeline";

/// Adds an option whose values are the names of an enum; help and errors list them.
template <NamedEnum E>
void add_enum_option(CLI::App& app, const std::string& flag, E& value, const std::string& what) {
  const auto read = [&value, flag](const std::string& text) {
    const auto named = value_of<E>(text);
    if (!named)
      throw CLI::ValidationError(message(flag, ": '", text, "' is none of ", list_of_names<E>()));
    value = *named;
  };
  app.add_option_function<std::string>(flag, read, message(what, ": ", list_of_names<E>()))
      ->type_name("NAME")
      ->default_str(std::string(name_of(value)));
}

/// Adds --spacing and --eta.
inline void add_spacing_options(CLI::App& app, SampleOptions& options) {
  add_enum_option(app, "--spacing", options.spacing, "how the steps are spread");
  app.add_option(
      "--eta", options.eta,
      "how random the samplers ddim and ddim_unclipped are: 0 not at all, 1 as ancestral");
}

/// How programs draw if they are not told: with the fast sampler, if signal is left for it.
class SamplerChoice {
 public:
  /// Adds --sampler, --sample-steps, --spacing and --eta.
  SamplerChoice(CLI::App& app, SampleOptions& options) : options_(options) {
    options.sampler = Sampler::dpm_solver_2m;
    options.steps = 20;
    add_enum_option(app, "--sampler", options.sampler, "the sampler that draws the pictures");
    sampler_ = app.get_option("--sampler");
    steps_ = app.add_option("--sample-steps", options.steps,
                            "steps of the sampler; 0: all timesteps, which is what ancestral takes "
                            "if it is told nothing else");
    add_spacing_options(app, options);
    spacing_ = app.get_option("--spacing");
  }

  /// Takes over how a pipeline steps, where the command line names the sampler only.
  void take(const SampleOptions& pipeline) {
    if (sampler_->count() == 0) return;
    if (spacing_->count() == 0) options_.spacing = pipeline.spacing;
    if (steps_->count() > 0 || options_.sampler != pipeline.sampler) return;
    options_.steps = pipeline.steps;
    steps_taken_ = true;
  }

  /// Fills in what the command line left open, once the process is known.
  void complete(const NoiseSchedule& schedule) const {
    const bool told = sampler_->count() > 0;
    if (!told && !schedule.level_at(schedule.timesteps() - 1).has_signal())
      options_.sampler = Sampler::ddim;
    if (steps_->count() > 0 || steps_taken_) return;
    options_.steps =
        options_.sampler == Sampler::ancestral ? 0 : std::min<Index>(20, schedule.timesteps());
  }

 private:
  SampleOptions& options_;
  CLI::Option *sampler_, *steps_, *spacing_;
  bool steps_taken_ = false;
};

/// Adds --class and --guidance.
inline void add_class_options(CLI::App& app, SampleOptions& options) {
  app.add_option(
         "--class", options.labels,
         "class of the pictures, or classes in turn, 0,1,2, of a network trained with labels; "
         "-1: none")
      ->delimiter(',')
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--guidance", options.guidance,
                 "more than 1: more typical of the class, less varied, twice the work");
}

/// Makes the folder, and throws IoError if no file can be written to it: before any long work.
inline void check_writable(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw IoError(message(folder.string(), ": cannot make this folder: ", error.message()));
  const io::AtomicFile probe(folder / "model.safetensors");  // never committed: nothing is left
}

/// Prints one setting of the run.
template <class... Value>
void echo(const char* name, const Value&... value) {
  std::cout << "  " << name << std::string(std::max<std::size_t>(1, 18 - std::strlen(name)), ' ')
            << message(value...) << '\n';
}

/// Prints how samples are drawn.
inline void echo_sampling(const SampleOptions& options, Index timesteps) {
  const bool ddim = options.sampler == Sampler::ddim || options.sampler == Sampler::ddim_unclipped;
  echo("sampler", name_of(options.sampler), ", ", options.steps > 0 ? options.steps : timesteps,
       " steps, ", name_of(options.spacing), ddim ? message(", eta ", options.eta) : "");
  if (options.labels.empty()) return;
  std::string labels;
  for (const Index label : options.labels) labels += message(labels.empty() ? "" : ",", label);
  echo("classes drawn", labels, ", guidance ", options.guidance);
}

/// By how much small pictures (N, H, W, C) are enlarged, so that people can see them: to about 96
/// pixels a side.
inline Index enlargement(const Shape& pictures) {
  return std::max<Index>(1, 96 / std::max(pictures[1], pictures[2]));
}

/// Keeps sample 0 at `pictures` moments spread over the steps, for one row that shows a picture
/// coming out of the noise. Most of what the eye sees happens late, so the moments crowd there.
class DenoisingStrip {
 public:
  explicit DenoisingStrip(Index steps) {
    const Index pictures = std::min<Index>(steps, 12);
    for (Index i = 1; i <= pictures; ++i) {
      const double rest = static_cast<double>(pictures - i) / static_cast<double>(pictures);
      moments_.push_back(steps - std::lround(static_cast<double>(steps - 1) * rest * rest));
    }
  }

  void operator()(const SampleProgress<float>& progress) {
    if (next_ >= moments_.size() || progress.step < moments_[next_]) return;
    const Tensor<float>& x = progress.prev_sample;
    if (strip_.empty())
      strip_ = Tensor<float>({std::ssize(moments_), x.dim(1), x.dim(2), x.dim(3)}, 0.0F);
    for (; next_ < moments_.size() && progress.step >= moments_[next_]; ++next_) {
      const View<float> first = x.slice(0, 1);
      std::copy(first.begin(), first.end(), strip_.slice(static_cast<Index>(next_), 1).begin());
    }
  }

  void write(const std::string& path) const {
    io::write_image_grid(path, strip_, strip_.dim(0), enlargement(strip_.shape()));
  }

 private:
  std::vector<Index> moments_;
  std::size_t next_ = 0;
  Tensor<float> strip_;
};

/// CRC-32 of all weights.
template <class Network>
std::uint64_t weights_sum(const Network& network) {
  io::Crc32 sum;
  for (const auto& parameter : nn::parameters<float>(network))
    sum.add(parameter.value().data(),
            static_cast<std::size_t>(parameter.value().size()) * sizeof(float));
  return sum.value();
}

/// A rank's part of the pictures: their options.
inline SampleOptions share_of(SampleOptions options, const Ranks& ranks) {
  const Index block = (options.count + ranks.size() - 1) / ranks.size();
  const auto share = distributed::block_of(options.count, block, ranks.rank());
  options.first += share.first;
  options.count = share.count;
  return options;
}

/// Each rank draws a part of the pictures, and every rank gets all of them.
template <class Network>
Tensor<float> sample_on_ranks(const Network& network, const Scheduler<float>& scheduler,
                              const SampleOptions& options, const OnSampleStep<float>& on_step,
                              const Ranks& ranks) {
  if (ranks.size() == 1) return sample(network, scheduler, options, on_step);
  require(options.noise != NoiseKind::pytorch_batch,
          "--noise pytorch_batch: a picture's noise then depends on which others are drawn with "
          "it; draw on one rank, or take --noise pytorch");
  const SampleOptions share = share_of(options, ranks);
  const Shape trained = network.sample_shape(1);
  const Shape one{1, options.height > 0 ? options.height : trained[1],
                  options.width > 0 ? options.width : trained[2], trained[3]};
  require(options.count <= std::numeric_limits<int>::max() / (4 * one.size()),
          "--grid: ", options.count,
          " pictures are more than ranks can send each other; take --folder");
  Tensor<float> own;
  if (share.count > 0) own = sample(network, scheduler, share, on_step);
  const Tensor<float> all({options.count, one[1], one[2], one[3]});
  const Index block = (options.count + ranks.size() - 1) / ranks.size();
  ranks.all_gather(std::span<const float>(own.begin(), own.end()),
                   std::span(all.begin(), all.end()), block * one.size());
  return all;
}

/// Draws samples with a progress bar, and writes their grid and, if asked for, a denoising strip.
template <class Network>
Tensor<float> write_samples(const Network& network, const Scheduler<float>& scheduler,
                            const SampleOptions& options, const std::string& grid,
                            const std::string& strip = "", const Ranks& ranks = {}) {
  check_sampling(network, scheduler, options);
  const bool leads = ranks.rank() == 0;
  const Index own = share_of(options, ranks).count;
  const Index batches = (own + options.batch_size - 1) / options.batch_size;
  const Index steps = options.steps > 0 ? options.steps : scheduler.timesteps();
  ProgressDisplay display("sampling", std::max<Index>(1, batches) * steps,
                          leads ? Progress::automatic : Progress::silent);
  DenoisingStrip moments(steps);
  Index done = 0;
  const auto on_step = [&](const SampleProgress<float>& progress) {
    throw_if_interrupted();
    moments(progress);
    display.update(++done, progress.prev_sample.dim(0));
  };
  const auto samples = sample_on_ranks(network, scheduler, options, on_step, ranks);
  if (!leads) return samples;
  // A column for each class that was asked for.
  io::write_image_grid(grid, samples, options.labels.size() > 1 ? std::ssize(options.labels) : 0,
                       enlargement(samples.shape()));
  std::cout << "wrote " << grid << '\n';
  if (strip.empty()) return samples;
  moments.write(strip);
  std::cout << "wrote " << strip << '\n';
  return samples;
}

}  // namespace examples
