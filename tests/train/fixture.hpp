// A network that trains within seconds.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "../support.hpp"
#include "ddpm/train/trainer.hpp"

namespace test {

inline const UNetConfig small{.image = {.channels = 1},
                              .channels = 8,
                              .multipliers = {1, 2},
                              .blocks = 1,
                              .groups = 4,
                              .dropout = 0.1};

inline TrainerOptions quiet(Index steps) {
  TrainerOptions options;
  options.batch_size = 4;
  options.steps = steps;
  options.learning_rate = 2e-3;
  options.progress = Progress::silent;
  return options;
}

}  // namespace test
