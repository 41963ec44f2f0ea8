// sample(): the short way from a trained network to pictures.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/diffusion/samplers/ancestral.hpp"
#include "ddpm/diffusion/samplers/ddim.hpp"
#include "ddpm/diffusion/samplers/dpm_solver.hpp"
#include "ddpm/diffusion/samplers/euler.hpp"
#include "ddpm/diffusion/samplers/pndm.hpp"
#include "ddpm/diffusion/samplers/unipc.hpp"
#include "ddpm/diffusion/timesteps.hpp"

namespace ddpm::inline DDPM_ABI {

/// The samplers by name; docs/samplers.md tells which to choose.
enum class Sampler {
  ancestral,        ///< Ho et al. 2020, algorithm 2
  ddim,             ///< Song et al. 2021; deterministic unless eta > 0
  euler,            ///< Karras et al. 2022, first order
  euler_ancestral,  ///< with fresh noise
  heun,             ///< second order, two evaluations a step
  dpm_solver_2m,    ///< Lu et al. 2022, DPM-Solver++, multistep
  dpm_solver_3m,
  dpm_solver_2s,   ///< single-step, two evaluations a step
  dpm_solver_sde,  ///< 2M with fresh noise
  unipc,           ///< Zhao et al. 2023, order 2
  pndm,            ///< Liu et al. 2022
};

struct SampleOptions {
  Index count = 16;        ///< images to make, at least 1
  std::uint64_t seed = 0;  ///< sample i is a function of seed and first + i alone
  Index first = 0;         ///< number of the first sample, at least 0
  Index batch_size = 64;   ///< images at once, at least 1; changes no sample
  Index height = 0;        ///< pixels; 0: the network's
  Index width = 0;         ///< pixels; 0: the network's
  Sampler sampler = Sampler::ancestral;
  Index steps = 0;                       ///< 1 to T; 0: all T timesteps
  Spacing spacing = Spacing::trailing;   ///< of the steps
  FinalLevel final = FinalLevel::clean;  ///< where the last step leads
  double eta = 0;                        ///< of ddim, in [0, 1]
  bool shared_noise = false;             ///< every sample gets the random numbers of the first
};

namespace detail {

/// Calls f with a new solver of the kind that the options name.
template <class T, class F>
auto with_solver(const SampleOptions& options, const F& f) {
  switch (options.sampler) {
    case Sampler::ancestral: return f(Ancestral<T>{});
    case Sampler::ddim: return f(Ddim<T>{options.eta});
    case Sampler::euler: return f(Euler<T>{});
    case Sampler::euler_ancestral: return f(EulerAncestral<T>{});
    case Sampler::heun: return f(Heun<T>{});
    case Sampler::dpm_solver_2m: return f(DpmSolverMultistep<T>{.order = 2});
    case Sampler::dpm_solver_3m: return f(DpmSolverMultistep<T>{.order = 3});
    case Sampler::dpm_solver_2s: return f(DpmSolverSinglestep<T>{});
    case Sampler::dpm_solver_sde: return f(DpmSolverMultistep<T>{.order = 2, .sde = true});
    case Sampler::unipc: return f(UniPc<T>{});
    case Sampler::pndm: return f(Pndm<T>{});
  }
  throw PreconditionError("sample: no such sampler");
}

inline void check(const SampleOptions& options) {
  require(options.count >= 1, "sample: count is ", options.count, ", expected at least 1");
  require(options.batch_size >= 1, "sample: batch_size is ", options.batch_size,
          ", expected at least 1");
  require(options.first >= 0, "sample: first is ", options.first, ", must not be negative");
  require(options.height >= 0 && options.width >= 0, "sample: an image of ", options.height, " x ",
          options.width, " pixels");
  require(options.steps >= 0, "sample: steps is ", options.steps, ", must not be negative");
}

}  // namespace detail

/// The levels that the options ask for.
/// Throws PreconditionError if there are more steps than timesteps.
template <class T>
std::vector<NoiseLevel> noise_levels(const Scheduler<T>& scheduler, const SampleOptions& options) {
  return noise_levels(scheduler, options.steps > 0 ? options.steps : scheduler.timesteps(),
                      options.spacing, options.final);
}

/// `count` images (count, H, W, C) in about [-1, 1], from noise.
/// on_step(const SampleProgress<T>&) is called after every step of every batch.
/// Throws PreconditionError if an option is out of range, or the network does not tell what the
/// sampler needs.
template <class T, ShapedDenoiser<T> D, class OnStep>
Tensor<T> sample(const D& denoiser, const Scheduler<T>& scheduler, const SampleOptions& options,
                 const OnStep& on_step) {
  detail::check(options);
  const auto levels = noise_levels(scheduler, options);
  const Shape own = denoiser.sample_shape(options.count);
  const Index height = options.height > 0 ? options.height : own[1];
  const Index width = options.width > 0 ? options.width : own[2];
  Tensor<T> samples({options.count, height, width, own[3]});
  for (Index done = 0; done < options.count; done += options.batch_size) {
    const Index size = std::min(options.batch_size, options.count - done);
    std::vector<Rng> streams;
    for (Index i = 0; i < size; ++i)
      streams.emplace_back(options.seed, Purpose::sampling,
                           options.first + (options.shared_noise ? 0 : done + i));
    const Shape shape{size, height, width, own[3]};
    const auto noise = [&] { return sample_noise<T>(shape, streams); };
    const Tensor<T> x = noise();
    const Tensor<T> batch = detail::with_solver<T>(options, [&](auto solver) {
      return solve(solver, denoiser, scheduler, std::span(levels), x, noise, on_step);
    });
    std::copy(batch.begin(), batch.end(), samples.slice(done, size).begin());
  }
  return samples;
}

template <class T, ShapedDenoiser<T> D>
Tensor<T> sample(const D& denoiser, const Scheduler<T>& scheduler,
                 const SampleOptions& options = {}) {
  return sample<T>(denoiser, scheduler, options, [](const SampleProgress<T>&) {});
}

}  // namespace ddpm::inline DDPM_ABI
