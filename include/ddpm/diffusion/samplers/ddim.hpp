// DDIM (Song, Meng, Ermon 2021, arXiv:2010.02502, equations 12 and 16).
//
//   x' = alpha' x_0 + sqrt(sigma'^2 - s^2) eps + s z
//   s  = eta sigma' / sigma sqrt(1 - abar / abar')
//
// eta 0 is deterministic; eta 1 is ancestral sampling with the posterior's variance. Over rising
// levels it runs backwards, from an image to its noise.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

struct DdimOptions {
  double eta = 0;  ///< in [0, 1]
  /// True: where x_0 was clipped, eps is what then is left of x, so that the two agree (as
  /// guided-diffusion does). False: as the network told it (as diffusers does); with much guidance,
  /// which drives x_0 far out of range, the step then leads astray.
  bool clip_noise = false;
};

template <class T>
class Ddim {
 public:
  static constexpr bool needs_signal = false;

  /// Throws PreconditionError if an option is out of range.
  explicit Ddim(const DdimOptions& options = {}) : options_(options) {
    require(options.eta >= 0 && options.eta <= 1, "Ddim: eta is ", options.eta,
            ", expected [0, 1]");
  }

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>& noise) {
    const NoiseLevel &now = step.now(), &next = step.next();
    const double eta = next.is_clean() ? 0 : options_.eta;
    require(eta == 0 || next.abar > now.abar, "Ddim: eta is ", eta,
            ", expected 0 for rising noise levels");
    auto [x_0, epsilon] = model.denoise(x, now);
    using Term = detail::Term<T>;
    if (options_.clip_noise && now.sigma() > 0)
      epsilon = detail::combine<T>(Term{1 / now.sigma(), x}, Term{-now.alpha() / now.sigma(), x_0});
    if (eta == 0) return {detail::transfer(x_0, epsilon, next), x_0};
    const double s = eta * next.sigma() / now.sigma() * std::sqrt(1 - now.abar / next.abar);
    const Tensor<T> z = noise();
    return {detail::combine<T>(Term{next.alpha(), x_0},
                               Term{std::sqrt(std::max(0.0, 1 - next.abar - s * s)), epsilon},
                               Term{s, z}),
            x_0};
  }

 private:
  DdimOptions options_;
};

}  // namespace ddpm::DDPM_ABI
