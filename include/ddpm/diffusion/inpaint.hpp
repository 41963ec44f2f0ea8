// Inpainting: RePaint (Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1). After every reverse
// step the known pixels are put back, made as noisy as that level; and the run jumps back by adding
// noise again, so that the rest can agree with them.
//
//   x' = mask (alpha' x_0 + sigma' eps) + (1 - mask) step(x)
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/sample.hpp"

namespace ddpm::DDPM_ABI {

struct InpaintOptions {
  std::uint64_t seed = 0;               ///< as in SampleOptions
  Index first = 0;                      ///< as in SampleOptions
  Index batch_size = 64;                ///< images at once, at least 1; changes no result
  Index steps = 0;                      ///< 1 to T; 0: 250, or T if that is less
  Spacing spacing = Spacing::trailing;  ///< of the steps
  Index jump_length = 10;               ///< levels of a jump back, at least 1
  Index resamplings = 10;               ///< times each stretch is gone, at least 1; 1: no jumps
  std::vector<Index> labels = {};       ///< as in SampleOptions
  double guidance = 1;                  ///< as in SampleOptions
  Precision precision = matmul_precision();  ///< as in SampleOptions
};

namespace detail {

/// The levels that a run of `steps` steps visits, by index, from 0, the noisiest, to `steps`, the
/// clean image (Lugmayr et al. 2022, appendix B).
inline std::vector<std::size_t> repaint_visits(Index steps, Index jump_length, Index resamplings) {
  // Jumps start where the number of noisy levels still to come is a multiple of jump_length.
  std::vector<Index> jumps(static_cast<std::size_t>(steps), 0);
  for (Index left = 0; left < steps - jump_length; left += jump_length)
    jumps[static_cast<std::size_t>(left)] = resamplings - 1;
  std::vector<std::size_t> visits;
  for (Index left = steps - 1; left >= 0; --left) {
    visits.push_back(static_cast<std::size_t>(steps - 1 - left));
    if (jumps[static_cast<std::size_t>(left)]-- <= 0) continue;
    for (Index i = 0; i < jump_length; ++i)
      visits.push_back(static_cast<std::size_t>(steps - 1 - ++left));
  }
  visits.push_back(static_cast<std::size_t>(steps));
  return visits;
}

/// u where the mask is 1, v where it is 0.
template <class T>
Tensor<T> masked(View<const T> mask, const Tensor<T>& u, const Tensor<T>& v) {
  Tensor<T> result(u.shape());
  const auto choose = [](const auto& m, const auto& a, const auto& b) {
    using P = std::decay_t<decltype(m)>;
    return m * a + (P(T(1)) - m) * b;
  };
  elementwise<T>(choose, result.view(), mask, u, v);
  return result;
}

/// One batch from noise to images.
template <class T>
Tensor<T> inpaint_batch(const DenoisingModel<T>& model, std::span<const NoiseLevel> levels,
                        std::span<const std::size_t> visits, const Tensor<T>& known,
                        View<const T> mask, const NoiseSource<T>& noise,
                        const OnSampleStep<T>& on_step) {
  Tensor<T> x = noise();
  for (std::size_t i = 1; i < visits.size(); ++i) {
    const NoiseLevel &from = levels[visits[i - 1]], &to = levels[visits[i]];
    if (visits[i] < visits[i - 1]) {  // back: the forward process from one level to a noisier one
      const double keep = to.abar / from.abar;
      x = combine<T>(Term<T>{std::sqrt(keep), x}, Term<T>{std::sqrt(1 - keep), noise()});
      continue;
    }
    const auto guess = Ancestral<T>{}.step(model, Step(levels, visits[i - 1]), x, noise);
    const Tensor<T> truth =
        to.is_clean() ? known
                      : combine<T>(Term<T>{to.alpha(), known}, Term<T>{to.sigma(), noise()});
    x = masked<T>(mask, truth, guess.x);
    check_finite(x, static_cast<Index>(i), std::ssize(visits) - 1, from.t);
    if (on_step) on_step({static_cast<Index>(i), std::ssize(visits) - 1, from.t, x, guess.x_0});
  }
  return x;
}

}  // namespace detail

/// Fills in what the mask leaves open.
///   known  (N, H, W, C), pixels in [-1, 1]
///   mask   shaped as known: 1 where a pixel is known, 0 where it is to be made
/// The known pixels come back as they are. on_step(const SampleProgress<T>&) is called after every
/// reverse step; its steps count the jumps back too.
/// Throws PreconditionError if shapes disagree, a mask value is not in [0, 1], or an option is out
/// of range.
template <class T, Denoiser<T> D>
Tensor<T> inpaint(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& known,
                  const Tensor<T>& mask, const InpaintOptions& options = {},
                  const std::type_identity_t<OnSampleStep<T>>& on_step = {}) {
  require(known.shape().rank() == 4 && known.size() > 0, "inpaint: known is ", known.shape(),
          ", expected (N, H, W, C), at least one");
  require_shape("inpaint: mask", mask.shape(), known.shape());
  for (const T m : mask)
    require(m >= 0 && m <= 1, "inpaint: a mask value ", m, ", expected [0, 1]");
  require(options.jump_length >= 1, "inpaint: jump_length is ", options.jump_length,
          ", expected at least 1");
  require(options.resamplings >= 1, "inpaint: resamplings is ", options.resamplings,
          ", expected at least 1");
  const Index steps =
      options.steps != 0 ? options.steps : std::min<Index>(250, scheduler.timesteps());
  const auto levels = noise_levels(scheduler, steps, options.spacing);
  const SampleOptions sampling{.seed = options.seed,
                               .first = options.first,
                               .batch_size = options.batch_size,
                               .labels = options.labels,
                               .guidance = options.guidance,
                               .precision = options.precision};
  detail::check_request("inpaint", denoiser, scheduler, std::span<const NoiseLevel>(levels),
                        sampling);
  const auto visits = detail::repaint_visits(steps, options.jump_length, options.resamplings);
  const NoGrad no_grad;
  const auto run = [&](const auto& model, Index done, const NoiseSource<T>& noise) {
    const Index size = std::min(options.batch_size, known.dim(0) - done);
    return detail::inpaint_batch<T>(DenoisingModel<T>(model, scheduler), levels, visits,
                                    copy_of(known.slice(done, size)), mask.slice(done, size), noise,
                                    on_step);
  };
  return detail::in_batches<T>(denoiser, known.shape(), sampling, run);
}

}  // namespace ddpm::DDPM_ABI
