// Which noise levels a sampler visits.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/diffusion/noise_schedule.hpp"

namespace ddpm::DDPM_ABI {

/// How n steps are spread over the levels of a schedule. The first three choose timesteps (names of
/// Lin et al. 2023, arXiv:2305.08891, table 2), the others ratios of noise to signal between those
/// of the table's ends.
enum class Spacing {
  leading,      ///< i * (T / n), rounded down: starts short of T - 1
  linspace,     ///< from T - 1 to 0, both included
  trailing,     ///< T - 1, T - 1 - T / n, ...: ends short of 0
  karras,       ///< ratio^(1/7) linear (Karras et al. 2022, equation 5)
  exponential,  ///< log of the ratio linear: the same in the log signal-to-noise ratio
};
template <>
inline constexpr auto enum_names<Spacing> = named<Spacing>("leading", "linspace", "trailing",
                                                           "karras", "exponential");

/// Where the last step leads.
enum class FinalLevel {
  clean,      ///< abar = 1
  sigma_min,  ///< the level of t = 0, whose noise stays in the image
};
template <>
inline constexpr auto enum_names<FinalLevel> = named<FinalLevel>("clean", "sigma_min");

/// n decreasing timesteps of [0, T). Throws PreconditionError unless 1 <= n <= T, or if the spacing
/// is not one of timesteps.
inline std::vector<Index> spaced_timesteps(Index T, Index n, Spacing spacing) {
  require(n >= 1 && n <= T, "spaced_timesteps: ", n, " steps of ", T, " timesteps, expected 1 to ",
          T);
  const auto nearest = [](double t) { return static_cast<Index>(std::nearbyint(t)); };  // to even
  std::vector<Index> timesteps;
  for (Index i = n - 1; i >= 0; --i) {
    const auto place = static_cast<double>(i), count = static_cast<double>(n);
    switch (spacing) {
      case Spacing::leading: timesteps.push_back(i * (T / n)); break;
      case Spacing::linspace:
        timesteps.push_back(n == 1 ? T - 1
                                   : nearest(static_cast<double>(T - 1) * place / (count - 1)));
        break;
      case Spacing::trailing:
        timesteps.push_back(nearest(static_cast<double>(T) * (place + 1) / count) - 1);
        break;
      default: require(false, "spaced_timesteps: this spacing is one of ratios, not of timesteps");
    }
  }
  return timesteps;
}

/// The levels of a user's own timesteps, which may lie between whole ones, and the final level.
/// Throws PreconditionError if there is none, they do not decrease, or one is out of range.
inline std::vector<NoiseLevel> noise_levels(const NoiseSchedule& schedule,
                                            std::span<const double> timesteps,
                                            FinalLevel final = FinalLevel::clean) {
  require(!timesteps.empty(), "noise_levels: no timesteps");
  std::vector<NoiseLevel> levels;
  for (const double t : timesteps) {
    require(levels.empty() || t < levels.back().t, "noise_levels: timestep ", t, " after ",
            levels.empty() ? t : levels.back().t, ", expected a smaller one");
    levels.push_back(schedule.level(t));
  }
  const NoiseLevel least = schedule.level_at(0);
  require(final == FinalLevel::clean || levels.back().t > 0,
          "noise_levels: the last timestep is 0, which is the final level already");
  levels.push_back(final == FinalLevel::clean ? NoiseLevel::clean() : least);
  return levels;
}

/// n steps from timestep `last` on, spread by `spacing` as over a table that ends there: n + 1
/// levels.
/// Throws PreconditionError unless 0 <= last < T and 1 <= n <= last + 1; with sigma_min also if a
/// timestep 0 comes before.
inline std::vector<NoiseLevel> noise_levels(const NoiseSchedule& schedule, Index n, Spacing spacing,
                                            FinalLevel final, Index last) {
  schedule.level_at(last);
  require(n >= 1 && n <= last + 1, "noise_levels: ", n, " steps of ", last + 1,
          " timesteps, expected 1 to ", last + 1);
  if (spacing != Spacing::karras && spacing != Spacing::exponential) {
    const auto whole = spaced_timesteps(last + 1, n, spacing);
    return noise_levels(schedule, std::vector<double>(whole.begin(), whole.end()), final);
  }
  const NoiseLevel first = schedule.level_at(last), least = schedule.level_at(0);
  require(first.has_signal(), "noise_levels: no signal is left at timestep ", last,
          ", ratios of noise to signal cannot be spaced");
  require(final == FinalLevel::clean || last > 0,
          "noise_levels: the last timestep is 0, which is the final level already");
  const double power = spacing == Spacing::karras ? 7 : 0;
  const auto forth = [=](double ratio) {
    return power > 0 ? std::pow(ratio, 1 / power) : std::log(ratio);
  };
  const auto back = [=](double v) { return power > 0 ? std::pow(v, power) : std::exp(v); };
  const double from = forth(first.ratio()), to = forth(least.ratio());
  // With the clean image to come, the least ratio is a step of its own.
  const Index parts = final == FinalLevel::clean ? std::max<Index>(1, n - 1) : n;
  std::vector<NoiseLevel> levels{first};
  for (Index i = 1; i < parts; ++i) {
    const double part = static_cast<double>(i) / static_cast<double>(parts);
    levels.push_back(schedule.level_of_ratio(back(from + part * (to - from))));
  }
  if (n > 1 || final == FinalLevel::sigma_min) levels.push_back(least);
  if (final == FinalLevel::clean) levels.push_back(NoiseLevel::clean());
  for (std::size_t i = 1; i < levels.size(); ++i)
    require(levels[i].abar > levels[i - 1].abar, "noise_levels: ", n,
            " steps are so many that two of them fall on one noise level; expected fewer");
  return levels;
}

/// The same from T - 1 on.
inline std::vector<NoiseLevel> noise_levels(const NoiseSchedule& schedule, Index n, Spacing spacing,
                                            FinalLevel final = FinalLevel::clean) {
  return noise_levels(schedule, n, spacing, final, schedule.timesteps() - 1);
}

}  // namespace ddpm::DDPM_ABI
