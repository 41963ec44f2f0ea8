// Ancestral sampling (Ho et al. 2020, algorithm 2), over all timesteps or some of them: a step over
// several is one of the process that visits only these (Nichol & Dhariwal 2021, section 4).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

template <class T>
struct Ancestral {
  static constexpr bool needs_signal = false;

  SolverStep<T> step(const DenoisingModel<T>& model, const Step& step, const Tensor<T>& x,
                     const NoiseSource<T>& noise) {
    const Tensor<T> z = step.next().is_clean() ? Tensor<T>() : noise();
    const auto made = model.scheduler.step(model.output(x, step.now()), step.now(),
                                           Posterior::between(step.now(), step.next()), x, z);
    return {made.prev_sample, made.pred_original_sample};
  }
};

}  // namespace ddpm::DDPM_ABI
