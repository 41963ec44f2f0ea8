// What describes a diffusion process: a checkpoint holds all of it, so that sampling never
// contradicts training.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ddpm/diffusion/beta_schedule.hpp"
#include "ddpm/diffusion/prediction.hpp"
#include "ddpm/diffusion/variance.hpp"

namespace ddpm::DDPM_ABI {

struct SchedulerConfig {
  Index timesteps = 1000;  ///< T
  BetaSchedule schedule = BetaSchedule::linear;
  double beta_start = 1e-4;  ///< in (0, 1)
  double beta_end = 0.02;    ///< in (0, 1)
  /// The range of linear, quadratic, constant and warm-up schedules is meant for 1000 steps. With
  /// true it is multiplied by 1000 / T, at most 0.999 a step, so that any T ends in as much noise;
  /// with false the betas are taken as they are, as diffusers does.
  bool scale_range = true;
  std::vector<double> betas = {};               ///< of a custom schedule, T of them, each in (0, 1]
  bool zero_terminal_snr = false;               ///< rescale, so that the last step leaves no signal
  Prediction prediction = Prediction::epsilon;  ///< what the network's output is
  Variance variance = Variance::fixed_small;
  bool clip_sample = true;    ///< clip the predicted x_0 to [-1, 1]
  bool thresholding = false;  ///< instead: clip to a quantile, and divide by it if it is above 1
  double threshold_quantile = 0.995;  ///< of |x_0| of each sample, in (0, 1]

  /// Names every field once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    visit("timesteps", self.timesteps);
    visit("schedule", self.schedule);
    visit("beta_start", self.beta_start);
    visit("beta_end", self.beta_end);
    visit("scale_range", self.scale_range);
    visit("betas", self.betas);
    visit("zero_terminal_snr", self.zero_terminal_snr);
    visit("prediction", self.prediction);
    visit("variance", self.variance);
    visit("clip_sample", self.clip_sample);
    visit("thresholding", self.thresholding);
    visit("threshold_quantile", self.threshold_quantile);
  }
};

}  // namespace ddpm::DDPM_ABI
