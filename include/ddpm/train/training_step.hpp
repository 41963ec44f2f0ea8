// What an update of the weights came to.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <limits>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

/// Mean losses by the quarter of the timesteps in which t lies, the least noisy first.
class LossByTime {
 public:
  /// Of an image at t, 0 <= t < timesteps.
  void add(Index t, Index timesteps, double loss) {
    const auto quarter = static_cast<std::size_t>(4 * t / timesteps);
    sums_[quarter] += loss;
    ++counts_[quarter];
  }

  /// Not a number where there was no image.
  std::array<double, 4> means() const {
    std::array<double, 4> result{};
    for (std::size_t i = 0; i < 4; ++i)
      result[i] = counts_[i] > 0 ? sums_[i] / static_cast<double>(counts_[i])
                                 : std::numeric_limits<double>::quiet_NaN();
    return result;
  }

 private:
  std::array<double, 4> sums_{};
  std::array<Index, 4> counts_{};
};

/// What a callback of fit() gets after an update.
struct TrainingStep {
  Index step;            ///< updates made, from 1
  double loss;           ///< mean over the step's images
  double gradient_norm;  ///< before clipping
  double learning_rate;
  std::array<double, 4> loss_by_time;  ///< see LossByTime; not weighted
};

}  // namespace ddpm::DDPM_ABI
