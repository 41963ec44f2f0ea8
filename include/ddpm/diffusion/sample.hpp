// sample(): the short way from a trained network to pictures.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/autograd/fixed_parameters.hpp"
#include "ddpm/core/precision.hpp"
#include "ddpm/core/torch_random.hpp"
#include "ddpm/diffusion/guidance.hpp"
#include "ddpm/diffusion/samplers/table.hpp"
#include "ddpm/diffusion/timesteps.hpp"

namespace ddpm::DDPM_ABI {

/// Whose random numbers a run of sampling takes.
enum class NoiseKind {
  philox,         ///< this library's
  pytorch,        ///< torch.randn of a generator for each sample, sample i's seeded with seed + i
  pytorch_batch,  ///< torch.randn of one generator for all samples, which are then one batch
};
template <>
inline constexpr auto enum_names<NoiseKind> = named<NoiseKind>("philox", "pytorch",
                                                               "pytorch_batch");

struct SampleOptions {
  Index count = 16;        ///< images to make, at least 1
  std::uint64_t seed = 0;  ///< sample i follows only from seed and first + i, but see NoiseKind
  Index first = 0;         ///< number of the first sample, at least 0
  Index batch_size = 64;   ///< images at once, at least 1; changes no sample
  Index height = 0;        ///< pixels; 0: the network's
  Index width = 0;         ///< pixels; 0: the network's
  Sampler sampler = Sampler::ancestral;
  Index steps = 0;                       ///< 1 to T; 0: all T timesteps
  Spacing spacing = Spacing::trailing;   ///< of the steps
  FinalLevel final = FinalLevel::clean;  ///< where the last step leads
  double eta = 0;                        ///< of ddim, in [0, 1]
  NoiseKind noise = NoiseKind::philox;   ///< where the random numbers come from
  bool shared_noise = false;             ///< every sample gets the random numbers of the first
  /// The class of sample i is labels[(first + i) mod their number]: one for all, or a row of them;
  /// none: unconditional. no_label among them is allowed.
  std::vector<Index> labels = {};
  double guidance = 1;                       ///< classifier-free; 1: none, see Guided
  Precision precision = matmul_precision();  ///< of products
};

namespace detail {

/// Throws PreconditionError unless the solver asks the network only at whole timesteps, and x_0
/// follows from x_{t-1} at each of them.
template <class T, class S>
void check_x_prev(const S&, const Scheduler<T>& scheduler, std::span<const NoiseLevel> levels) {
  std::vector<double> timesteps;
  for (const NoiseLevel& level : levels)
    if (!level.is_clean()) timesteps.push_back(level.t);
  if constexpr (requires { S::timesteps_between(levels); })
    for (const double t : S::timesteps_between(levels)) timesteps.push_back(t);
  for (const double t : timesteps) {
    require(t == std::floor(t), "sample: the sampler asks the network at timestep ", t,
            ", between two others, where a prediction of x_{t-1} has no meaning; choose another "
            "spacing, number of steps or sampler");
    const auto whole = static_cast<Index>(t);
    to_x_0<T>(Prediction::x_prev, scheduler.level_at(whole), scheduler.posterior(whole, whole - 1));
  }
}

/// Throws PreconditionError if an option is out of range, or the denoiser, the scheduler and the
/// sampler do not go together for a run over these levels.
template <class T, class D>
void check_request(const char* where, const D& denoiser, const Scheduler<T>& scheduler,
                   std::span<const NoiseLevel> levels, const SampleOptions& options) {
  require(options.count >= 1, where, ": count is ", options.count, ", expected at least 1");
  require(options.batch_size >= 1, where, ": batch_size is ", options.batch_size,
          ", expected at least 1");
  require(options.first >= 0, where, ": first is ", options.first, ", must not be negative");
  require(options.height >= 0 && options.width >= 0, where, ": an image of ", options.height, " x ",
          options.width, " pixels");
  require(options.noise != NoiseKind::pytorch_batch ||
              (options.count <= options.batch_size && options.first == 0 && !options.shared_noise),
          where, ": ", options.count, " samples from number ", options.first,
          options.shared_noise ? " with shared noise" : "", " in batches of ", options.batch_size,
          "; noise of the kind pytorch_batch is that of one batch, from number 0");
  check_guidance<T>(where, denoiser, options.labels, options.guidance);
  require_signal<T>(scheduler.config().prediction, levels.front());
  with_solver<T>(options.sampler, options.eta, [&](const auto& solver) {
    check_solver<T>(solver, levels.front());
    if (scheduler.config().prediction == Prediction::x_prev)
      check_x_prev(solver, scheduler, levels);
  });
}

/// One batch from x on, by the sampler that the options name.
template <class T, class D>
Tensor<T> run_sampler(const D& denoiser, const Scheduler<T>& scheduler,
                      std::span<const NoiseLevel> levels, const SampleOptions& options,
                      const Tensor<T>& x, const NoiseSource<T>& noise,
                      const OnSampleStep<T>& on_step) {
  return with_solver<T>(options.sampler, options.eta, [&](auto solver) {
    return solve(std::move(solver), denoiser, scheduler, levels, x, noise, on_step);
  });
}

/// The random numbers of samples [first, first + N) of a run, shaped as `shape` (N, H, W, C).
template <class T>
NoiseSource<T> noise_source(const SampleOptions& options, const Shape& shape, Index first) {
  if (options.noise == NoiseKind::pytorch_batch)
    return [shape, generator = TorchGenerator(options.seed)]() mutable {
      return generator.normal<T>(shape);
    };
  const auto number = [&](Index n) {
    return options.first + (options.shared_noise ? 0 : first + n);
  };
  if (options.noise == NoiseKind::philox) {
    std::vector<Rng> streams;
    for (Index n = 0; n < shape[0]; ++n)
      streams.emplace_back(options.seed, Purpose::sampling, number(n));
    return [shape, streams]() mutable { return sample_noise<T>(shape, streams); };
  }
  std::vector<TorchGenerator> generators;
  for (Index n = 0; n < shape[0]; ++n)
    generators.emplace_back(options.seed + static_cast<std::uint64_t>(number(n)));
  return [shape, generators]() mutable {
    Tensor<T> noise(shape);
    parallel_for(shape[0], [&](Index n) {
      const Tensor<T> one = generators[static_cast<std::size_t>(n)].template normal<T>(
          {1, shape[1], shape[2], shape[3]});
      std::copy(one.begin(), one.end(), noise.slice(n, 1).begin());
    });
    return noise;
  };
}

/// Images (of shape `all`) in batches, each by run(model, done, noise): model is the denoiser,
/// guided if there are labels, done the samples made before, noise() the batch's random numbers.
template <class T, class D, class Run>
Tensor<T> in_batches(const D& denoiser, const Shape& all, const SampleOptions& options,
                     const Run& run) {
  const PrecisionScope scope(options.precision);
  const FixedParameters fixed;
  Tensor<T> images(all);
  for (Index done = 0; done < all[0]; done += options.batch_size) {
    const Index size = std::min(options.batch_size, all[0] - done);
    const View<T> part = images.slice(done, size);
    const NoiseSource<T> noise = noise_source<T>(options, part.shape, done);
    const auto batch = [&](const auto& model) { return run(model, done, noise); };
    const Tensor<T> made = with_labels<T>(denoiser, options.labels, options.first + done, size,
                                          options.guidance, batch);
    std::copy(made.begin(), made.end(), part.begin());
  }
  return images;
}

}  // namespace detail

/// The levels that a run of sample() visits. Programs that train first ask before they do.
/// Throws PreconditionError if an option is out of range, there are more steps than timesteps, a
/// label is out of range or guidance given without labels, or no signal is left at the first
/// timestep and prediction or sampler need some.
template <class T, Denoiser<T> D>
std::vector<NoiseLevel> check_sampling(const D& denoiser, const Scheduler<T>& scheduler,
                                       const SampleOptions& options) {
  require(options.steps >= 0, "sample: steps is ", options.steps, ", must not be negative");
  auto levels = noise_levels(scheduler, options.steps > 0 ? options.steps : scheduler.timesteps(),
                             options.spacing, options.final);
  detail::check_request("sample", denoiser, scheduler, std::span<const NoiseLevel>(levels),
                        options);
  return levels;
}

/// `count` images (count, H, W, C) in about [-1, 1], from noise.
/// on_step(const SampleProgress<T>&) is called after every step of every batch.
/// Throws PreconditionError as check_sampling() does; NonFiniteError as soon as a sample is not
/// finite.
template <class T, ShapedDenoiser<T> D>
Tensor<T> sample(const D& denoiser, const Scheduler<T>& scheduler,
                 const SampleOptions& options = {},
                 const std::type_identity_t<OnSampleStep<T>>& on_step = {}) {
  const auto levels = check_sampling(denoiser, scheduler, options);
  const Shape own = denoiser.sample_shape(options.count);
  const Shape all{options.count, options.height > 0 ? options.height : own[1],
                  options.width > 0 ? options.width : own[2], own[3]};
  const auto run = [&](const auto& model, Index, const NoiseSource<T>& noise) {
    return detail::run_sampler(model, scheduler, levels, options, noise(), noise, on_step);
  };
  return detail::in_batches<T>(denoiser, all, options, run);
}

/// Images from x_t (N, H, W, C) at timestep t instead of from noise at T - 1: from a picture that
/// add_noise() made noisy, a variation of it. options.steps are spread from t down, 0: all t + 1;
/// options.count, height and width do not matter: x_t has its own.
/// on_step as in sample(). Throws as sample() does, and PreconditionError if x_t is empty or t out
/// of range.
template <class T, Denoiser<T> D>
Tensor<T> sample_from(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& x_t,
                      Index t, const SampleOptions& options = {},
                      const std::type_identity_t<OnSampleStep<T>>& on_step = {}) {
  require(x_t.shape().rank() == 4 && x_t.size() > 0, "sample_from: x_t is ", x_t.shape(),
          ", expected (N, H, W, C), at least one");
  require(options.steps >= 0, "sample_from: steps is ", options.steps, ", must not be negative");
  auto levels = noise_levels(scheduler, options.steps > 0 ? options.steps : t + 1, options.spacing,
                             options.final, t);
  levels.front() = scheduler.level_at(t);  // leading spacing would start short
  SampleOptions all = options;
  all.count = x_t.dim(0);
  detail::check_request("sample_from", denoiser, scheduler, std::span<const NoiseLevel>(levels),
                        all);
  const auto run = [&](const auto& model, Index done, const NoiseSource<T>& noise) {
    const Tensor<T> x = copy_of(x_t.slice(done, std::min(options.batch_size, x_t.dim(0) - done)));
    return detail::run_sampler(model, scheduler, levels, options, x, noise, on_step);
  };
  return detail::in_batches<T>(denoiser, x_t.shape(), options, run);
}

/// Keeps every k-th state of a run, x_t and the predicted x_0: pass std::ref(trajectory) as
/// on_step.
template <class T>
struct Trajectory {
  Index every = 1;                             ///< at least 1; the last step is always kept
  std::vector<SampleProgress<T>> states = {};  ///< batch after batch

  /// Throws PreconditionError if `every` is less than 1.
  void operator()(const SampleProgress<T>& progress) {
    require(every >= 1, "Trajectory: every is ", every, ", expected at least 1");
    if (progress.step % every == 0 || progress.step == progress.steps) states.push_back(progress);
  }
};

}  // namespace ddpm::DDPM_ABI
