// Inpainting: RePaint (Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1). After every reverse
// step the known pixels are put back, made as noisy as that level; and the run jumps back by adding
// noise again, so that the rest can agree with them.
//
//   x' = mask (alpha' x_0 + sigma' eps) + (1 - mask) step(x)
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/sample.hpp"

namespace ddpm::inline DDPM_ABI {

struct InpaintOptions {
  /// seed, first, batch_size, steps, spacing, labels and guidance count; the sampler is ancestral.
  SampleOptions sampling = {.steps = 250};
  Index jump_length = 10;  ///< levels of a jump back, at least 1
  Index resamplings = 10;  ///< times each stretch is gone, at least 1; 1: no jumps
};

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

namespace detail {

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
template <class T, class D, class Noise>
Tensor<T> inpaint_batch(const D& denoiser, const Scheduler<T>& scheduler,
                        std::span<const NoiseLevel> levels, std::span<const std::size_t> visits,
                        const Tensor<T>& known, View<const T> mask, const Noise& noise) {
  const DenoisingModel<T, D> model{denoiser, scheduler};
  Tensor<T> x = noise();
  for (std::size_t i = 1; i < visits.size(); ++i) {
    const NoiseLevel &from = levels[visits[i - 1]], &to = levels[visits[i]];
    if (visits[i] < visits[i - 1]) {  // back: the forward process from one level to a noisier one
      const double keep = to.abar / from.abar;
      x = combine<T>(Term<T>{std::sqrt(keep), x}, Term<T>{std::sqrt(1 - keep), noise()});
      continue;
    }
    const Tensor<T> guess = Ancestral<T>{}.step(model, levels, visits[i - 1], x, noise).x;
    const Tensor<T> truth =
        to.abar == 1 ? known : combine<T>(Term<T>{to.alpha(), known}, Term<T>{to.sigma(), noise()});
    x = masked<T>(mask, truth, guess);
  }
  return x;
}

}  // namespace detail

/// Fills in what the mask leaves open.
///   known  (N, H, W, C), pixels in [-1, 1]
///   mask   shaped as known: 1 where a pixel is known, 0 where it is to be made
/// The known pixels come back as they are. Throws PreconditionError if shapes disagree, a mask
/// value is not in [0, 1], or an option is out of range.
template <class T, Denoiser<T> D>
Tensor<T> inpaint(const D& denoiser, const Scheduler<T>& scheduler, const Tensor<T>& known,
                  const Tensor<T>& mask, const InpaintOptions& options = {}) {
  detail::check(options.sampling);
  require(known.shape().rank() == 4 && known.size() > 0, "inpaint: known is ", known.shape(),
          ", expected (N, H, W, C), at least one");
  require_shape("inpaint: mask", mask.shape(), known.shape());
  for (const T m : mask)
    require(m >= 0 && m <= 1, "inpaint: a mask value ", m, ", expected [0, 1]");
  require(options.jump_length >= 1, "inpaint: jump_length is ", options.jump_length,
          ", expected at least 1");
  require(options.resamplings >= 1, "inpaint: resamplings is ", options.resamplings,
          ", expected at least 1");
  const SampleOptions& s = options.sampling;
  const Index steps = s.steps > 0 ? s.steps : scheduler.timesteps();
  const auto levels = noise_levels(scheduler, steps, s.spacing);
  const auto visits = repaint_visits(steps, options.jump_length, options.resamplings);
  const NoGrad no_grad;
  const auto run = [&](const auto& model, Index done, const auto& noise) {
    const Index size = std::min(s.batch_size, known.dim(0) - done);
    return detail::inpaint_batch<T>(model, scheduler, std::span(levels), std::span(visits),
                                    copy_of(known.slice(done, size)), mask.slice(done, size),
                                    noise);
  };
  return detail::in_batches<T>(denoiser, known.shape(), s, run);
}

}  // namespace ddpm::inline DDPM_ABI
