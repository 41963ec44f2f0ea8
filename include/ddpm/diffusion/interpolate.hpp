// Between two images (Ho et al. 2020, section 4.4, figure 8): both are made noisy up to timestep t,
// mixed, and denoised again.
//
//   x_t = (1 - lambda) x_t^a + lambda x_t^b
//
// The noise is the same for every lambda. The higher t, the more the result is a new image.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/sample.hpp"

namespace ddpm::DDPM_ABI {

/// One image for each lambda in [0, 1]: (lambdas, H, W, C).
///   a, b     (1, H, W, C)
///   t        in [0, T)
///   options  of sample_from()
/// Throws PreconditionError if shapes disagree, there is no lambda, or one is out of range; and as
/// sample_from() does.
template <class T, Denoiser<T> D>
Tensor<T> interpolate(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& a,
                      const Tensor<T>& b, std::span<const double> lambdas, Index t,
                      SampleOptions options = {}) {
  require(a.shape().rank() == 4 && a.dim(0) == 1, "interpolate: a is ", a.shape(),
          ", expected (1, H, W, C)");
  require_shape("interpolate: b", b.shape(), a.shape());
  require(!lambdas.empty(), "interpolate: no lambdas");
  for (const double lambda : lambdas)
    require(lambda >= 0 && lambda <= 1, "interpolate: lambda is ", lambda, ", expected [0, 1]");
  const auto noisy = [&](const Tensor<T>& image, Index number) {
    const Tensor<T> noise(image.shape());
    Rng rng(options.seed, Purpose::interpolation, number);
    fill_normal<T>(noise, rng);
    return scheduler.add_noise(image, noise, t);
  };
  const Tensor<T> from = noisy(a, 0), to = noisy(b, 1);
  const Tensor<T> x_t({std::ssize(lambdas), a.dim(1), a.dim(2), a.dim(3)});
  for (Index i = 0; i < x_t.dim(0); ++i) {
    const double lambda = lambdas[static_cast<std::size_t>(i)];
    using Term = detail::Term<T>;
    const Tensor<T> mixed = detail::combine<T>(Term{1 - lambda, from}, Term{lambda, to});
    std::copy(mixed.begin(), mixed.end(), x_t.slice(i, 1).begin());
  }
  options.shared_noise = true;
  return sample_from<T>(denoiser, scheduler, x_t, t, options);
}

}  // namespace ddpm::DDPM_ABI
