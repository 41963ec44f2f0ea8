// Beta schedules: the variance of the noise that each forward step adds (Ho et al. 2020, sec. 2).
//
//   beta_t for 0 <= t < T, and abar_t = prod_{s <= t} (1 - beta_s)
//
// Some are given by their betas, some by abar as a function of s = t / T.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

enum class BetaSchedule {
  linear,     ///< from beta_start to beta_end (Ho et al. 2020, section 4)
  quadratic,  ///< its square root is linear ("quad" in the paper's code, "scaled linear" elsewhere)
  constant,   ///< beta_end
  warmup10,   ///< beta_end, the first tenth linear from beta_start
  warmup50,   ///< beta_end, the first half linear from beta_start
  jsd,        ///< 1/T, 1/(T-1), ..., 1: the last step leaves no signal
  cosine,     ///< Nichol & Dhariwal 2021, equation 17
  sigmoid,    ///< Jabri et al. 2022, appendix B: sigmoid from -3 to 3
  custom,     ///< SchedulerConfig::betas
};
template <>
inline constexpr auto enum_names<BetaSchedule> = named<BetaSchedule>("linear", "quadratic",
                                                                     "constant", "warmup10",
                                                                     "warmup50", "jsd", "cosine",
                                                                     "sigmoid", "custom");

/// True for the schedules that beta_start, beta_end or both belong to.
inline bool has_range(BetaSchedule schedule) {
  return schedule != BetaSchedule::jsd && schedule != BetaSchedule::cosine &&
         schedule != BetaSchedule::sigmoid;
}

namespace detail {

/// count values from first to last, both included; only the first if there is one.
inline std::vector<double> linspace(double first, double last, std::size_t count) {
  std::vector<double> values(count, first);
  for (std::size_t i = 1; i < count; ++i)
    values[i] = first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
  return values;
}

inline void check_beta_range(Index timesteps, double beta_start, double beta_end) {
  require(timesteps >= 1 && timesteps <= 1'000'000, "beta schedule: ", timesteps,
          " timesteps, expected 1 to 1000000");
  require(beta_start > 0 && beta_start < 1 && beta_end > 0 && beta_end < 1, "beta schedule: from ",
          beta_start, " to ", beta_end, ", expected numbers in (0, 1)");
}

/// beta_end with the first `share` of the steps linear from beta_start.
inline std::vector<double> warmup_betas(std::size_t T, double share, double beta_start,
                                        double beta_end) {
  std::vector<double> betas(T, beta_end);
  const auto warm =
      linspace(beta_start, beta_end,
               std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(T) * share)));
  std::copy(warm.begin(), warm.end(), betas.begin());
  return betas;
}

/// beta_t = 1 - abar((t + 1) / T) / abar(t / T), at most 0.999 (Nichol & Dhariwal 2021, sec. 3.2).
template <class F>
std::vector<double> betas_of(std::size_t T, const F& abar) {
  std::vector<double> betas(T);
  for (std::size_t t = 0; t < T; ++t)
    betas[t] = std::min(1 - abar(static_cast<double>(t + 1) / static_cast<double>(T)) /
                                abar(static_cast<double>(t) / static_cast<double>(T)),
                        0.999);
  return betas;
}

}  // namespace detail

/// The betas of a schedule, T of them. Those that have no ends (has_range()) do not use them.
/// Throws PreconditionError unless 1 <= T <= 1,000,000 and both ends are in (0, 1); or if asked for
/// custom betas, which have no formula.
inline std::vector<double> make_betas(BetaSchedule schedule, Index timesteps,
                                      double beta_start = 1e-4, double beta_end = 0.02) {
  detail::check_beta_range(timesteps, beta_start, beta_end);
  const auto T = static_cast<std::size_t>(timesteps);
  switch (schedule) {
    case BetaSchedule::linear: return detail::linspace(beta_start, beta_end, T);
    case BetaSchedule::quadratic: {
      auto betas = detail::linspace(std::sqrt(beta_start), std::sqrt(beta_end), T);
      for (double& beta : betas) beta *= beta;
      return betas;
    }
    case BetaSchedule::constant: return std::vector<double>(T, beta_end);
    case BetaSchedule::warmup10: return detail::warmup_betas(T, 0.1, beta_start, beta_end);
    case BetaSchedule::warmup50: return detail::warmup_betas(T, 0.5, beta_start, beta_end);
    case BetaSchedule::jsd: {
      auto betas = detail::linspace(static_cast<double>(T), 1, T);
      for (double& beta : betas) beta = 1 / beta;
      return betas;
    }
    case BetaSchedule::cosine:
      return detail::betas_of(T, [](double s) {
        const double c = std::cos((s + 0.008) / 1.008 * std::numbers::pi / 2);
        return c * c;
      });
    case BetaSchedule::sigmoid:
      return detail::betas_of(T, [](double s) {
        const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
        return (sigmoid(3) - sigmoid(6 * s - 3)) / (sigmoid(3) - sigmoid(-3));
      });
    case BetaSchedule::custom: break;
  }
  require(false, "make_betas: custom betas are given, not computed");
  return {};
}

/// The betas shifted and scaled so that the last step leaves no signal, abar_{T-1} = 0, and the
/// first keeps its abar (Lin et al. 2023, arXiv:2305.08891, algorithm 1).
/// Throws PreconditionError if there are fewer than two.
inline std::vector<double> rescale_zero_terminal_snr(const std::vector<double>& betas) {
  require(betas.size() >= 2, "rescale_zero_terminal_snr: ", betas.size(),
          " betas, expected at least 2");
  std::vector<double> root(betas.size());
  double abar = 1;
  for (std::size_t t = 0; t < betas.size(); ++t) root[t] = std::sqrt(abar *= 1 - betas[t]);
  const double first = root.front(), last = root.back();
  std::vector<double> result(betas.size());
  double previous = 1;
  for (std::size_t t = 0; t < betas.size(); ++t) {
    const double scaled = (root[t] - last) * first / (first - last);
    result[t] = t == 0 ? betas[0] : 1 - scaled * scaled / (previous * previous);
    previous = scaled;
  }
  return result;
}

}  // namespace ddpm::DDPM_ABI
