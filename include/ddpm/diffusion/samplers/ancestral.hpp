// Ancestral sampling (Ho et al. 2020, algorithm 2), over all timesteps or some of them: a step over
// several is one of the process that visits these alone (Nichol & Dhariwal 2021, section 4).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/samplers/solver.hpp"

namespace ddpm::DDPM_ABI {

template <class T>
struct Ancestral {
  static constexpr bool needs_signal = false;
  template <class M, class Noise>
  SolverStep<T> step(const M& model, std::span<const NoiseLevel> levels, std::size_t i,
                     const Tensor<T>& x, const Noise& noise) {
    const NoiseLevel &now = levels[i], &next = levels[i + 1];
    const Tensor<T> z = next.abar < 1 ? noise() : Tensor<T>();
    const Posterior posterior{now.abar, next.abar, 1 - now.abar / next.abar};
    const auto step = model.scheduler.step(model.output(x, now), now, posterior, x, z);
    return {step.prev_sample, step.pred_original_sample};
  }
};

}  // namespace ddpm::DDPM_ABI
