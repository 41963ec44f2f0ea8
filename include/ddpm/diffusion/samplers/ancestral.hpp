// Ancestral sampling (Ho et al. 2020, algorithm 2): T reverse steps from noise to an image.
//
// Each sample has a random stream of its own, so that it does not depend on the batch it is in.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/denoiser.hpp"
#include "ddpm/diffusion/scheduler.hpp"

namespace ddpm::inline DDPM_ABI {

/// The state of a sampler after a step.
template <class T>
struct SampleProgress {
  Index t;                         ///< the step just made, from x_t to x_{t-1}
  Tensor<T> prev_sample;           ///< x_{t-1}
  Tensor<T> pred_original_sample;  ///< x_0 as seen from x_t
};

/// Standard normal noise of `shape` (N, ...), sample n from streams[n].
/// Throws PreconditionError if there are not N streams.
template <class T>
Tensor<T> sample_noise(const Shape& shape, std::vector<Rng>& streams) {
  require(shape.rank() > 0 && shape[0] == static_cast<Index>(streams.size()),
          "sample_noise: ", streams.size(), " streams for shape ", shape);
  Tensor<T> noise(shape);
  parallel_for(shape[0], [&](Index n) {
    fill_normal<T>(noise.slice(n, 1), streams[static_cast<std::size_t>(n)]);
  });
  return noise;
}

/// From x_T (drawn from the streams) to x_0, N images at once.
///   shape    (N, H, W, C);  streams  one generator a sample
///   on_step  called as on_step(const SampleProgress<T>&) after every step
/// Throws PreconditionError if there are not N streams, or as the denoiser does.
template <class T, Denoiser<T> D, class OnStep>
Tensor<T> sample_ancestral(const D& denoiser, const Scheduler<T>& scheduler, const Shape& shape,
                           std::vector<Rng> streams, const OnStep& on_step) {
  const NoGrad no_grad;
  Tensor<T> x = sample_noise<T>(shape, streams);
  for (Index t = scheduler.timesteps() - 1; t >= 0; --t) {
    const std::vector<Index> ts(streams.size(), t);
    const Variable<T> eps = denoiser(Variable<T>(x), ts);
    const Tensor<T> z = t > 0 ? sample_noise<T>(shape, streams) : Tensor<T>();
    const auto step = scheduler.step(eps.value(), t, x, z);
    x = step.prev_sample;
    on_step(SampleProgress<T>{t, x, step.pred_original_sample});
  }
  return x;
}

}  // namespace ddpm::inline DDPM_ABI
