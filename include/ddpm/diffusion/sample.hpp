// sample(): the short way from a trained network to pictures.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/diffusion/samplers/ancestral.hpp"

namespace ddpm::inline DDPM_ABI {

struct SampleOptions {
  Index count = 16;        ///< images to make, at least 1
  std::uint64_t seed = 0;  ///< sample i is a function of seed and first + i alone
  Index first = 0;         ///< number of the first sample, at least 0
  Index batch_size = 64;   ///< images at once, at least 1; changes no sample
  Index height = 0;        ///< pixels; 0: the network's
  Index width = 0;         ///< pixels; 0: the network's
};

/// `count` images (count, H, W, C) in about [-1, 1], by T ancestral steps.
/// on_step(const SampleProgress<T>&) is called after every step of every batch.
/// Throws PreconditionError if an option is out of range.
template <class T, ShapedDenoiser<T> D, class OnStep>
Tensor<T> sample(const D& denoiser, const Scheduler<T>& scheduler, const SampleOptions& options,
                 const OnStep& on_step) {
  require(options.count >= 1, "sample: count is ", options.count, ", expected at least 1");
  require(options.batch_size >= 1, "sample: batch_size is ", options.batch_size,
          ", expected at least 1");
  require(options.first >= 0, "sample: first is ", options.first, ", must not be negative");
  require(options.height >= 0 && options.width >= 0, "sample: an image of ", options.height, " x ",
          options.width, " pixels");
  const Shape own = denoiser.sample_shape(options.count);
  const Index height = options.height > 0 ? options.height : own[1];
  const Index width = options.width > 0 ? options.width : own[2];
  Tensor<T> samples({options.count, height, width, own[3]});
  for (Index done = 0; done < options.count; done += options.batch_size) {
    const Index size = std::min(options.batch_size, options.count - done);
    std::vector<Rng> streams;
    for (Index i = 0; i < size; ++i)
      streams.emplace_back(options.seed, Purpose::sampling, options.first + done + i);
    const Tensor<T> batch = sample_ancestral<T>(denoiser, scheduler, {size, height, width, own[3]},
                                                std::move(streams), on_step);
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
