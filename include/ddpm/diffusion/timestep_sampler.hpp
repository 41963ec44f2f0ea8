// How training draws its timesteps. Each draw comes with a weight that keeps the mean of weighted
// losses an unbiased estimate of their mean over all timesteps. Uniform draws depend on the image's
// number only, stratified ones on its place in the batch too, those by losses on the whole run.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/core/random.hpp"

namespace ddpm::DDPM_ABI {

enum class TimestepSampling {
  uniform,             ///< Ho et al. 2020, algorithm 1
  stratified,          ///< image n of a batch of N draws from the n-th of N equal parts of [0, T)
  loss_second_moment,  ///< in proportion to sqrt(E[L_t^2]) (Nichol & Dhariwal 2021, equation 18)
};
template <>
inline constexpr auto enum_names<TimestepSampling> = named<TimestepSampling>("uniform",
                                                                             "stratified",
                                                                             "loss_second_moment");

class TimestepSampler {
 public:
  static constexpr Index history = 10;            ///< losses kept for each timestep
  static constexpr double uniform_share = 0.001;  ///< of draws that ignore the losses

  /// Throws PreconditionError if T < 1.
  TimestepSampler(TimestepSampling kind, Index T) : kind_(kind), T_(T), seen_(0) {
    require(T >= 1, "TimestepSampler: ", T, " timesteps, expected at least 1");
    if (kind != TimestepSampling::loss_second_moment) return;
    losses_.resize(static_cast<std::size_t>(T * history));
    counts_.resize(static_cast<std::size_t>(T));
  }

  struct Draw {
    Index t;
    double weight;
  };

  /// The timestep of image `place` of a batch of `batch`, from the image's own generator.
  /// Throws PreconditionError unless 0 <= place < batch.
  Draw draw(Rng& rng, Index place, Index batch) const {
    require(place >= 0 && place < batch, "TimestepSampler::draw: place ", place, " of a batch of ",
            batch);
    if (kind_ == TimestepSampling::uniform || (kind_ != TimestepSampling::stratified && !warm()))
      return {rng.below(T_), 1};
    if (kind_ == TimestepSampling::stratified) {
      const double at = (static_cast<double>(place) + rng.uniform()) / static_cast<double>(batch);
      return {std::min(static_cast<Index>(at * static_cast<double>(T_)), T_ - 1), 1};
    }
    const double u = rng.uniform() * cumulative_.back();
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), u);
    const Index t = std::min<Index>(found - cumulative_.begin(), T_ - 1);
    return {t, 1 / (probability(t) * static_cast<double>(T_))};
  }

  /// Tells the losses of a batch, unweighted and finite. Only loss_second_moment listens.
  /// Throws PreconditionError if the numbers differ or a timestep is out of range.
  template <class T>
  void update(std::span<const Index> t, View<const T> losses) {
    if (kind_ != TimestepSampling::loss_second_moment) return;
    require(std::ssize(t) == losses.size(), "TimestepSampler::update: ", losses.size(),
            " losses for ", t.size(), " timesteps");
    for (std::size_t n = 0; n < t.size(); ++n) {
      require(t[n] >= 0 && t[n] < T_, "TimestepSampler::update: timestep ", t[n],
              ", expected 0 to ", T_ - 1);
      Index& count = counts_[static_cast<std::size_t>(t[n])];
      losses_[static_cast<std::size_t>(t[n] * history + count % history)] =
          static_cast<double>(losses[static_cast<Index>(n)]);
      if (++count == history) ++seen_;
    }
    if (warm()) accumulate();
  }

  /// What loss_second_moment knows: (T, history + 1), the last losses of each timestep and how many
  /// it was ever told. Of the others (1, history + 1) zeros.
  Tensor<double> memory() const {
    Tensor<double> result({std::max<Index>(1, std::ssize(counts_)), history + 1}, 0.0);
    const View<double> rows = result;
    for (Index t = 0; t < std::ssize(counts_); ++t) {
      std::copy_n(losses_.begin() + t * history, history, rows.row(t));
      rows.row(t)[history] = static_cast<double>(counts_[static_cast<std::size_t>(t)]);
    }
    return result;
  }
  /// Goes on from what memory() gave. Throws PreconditionError if it is of another kind of sampler
  /// or has values that no sampler could give.
  void restore(const Tensor<double>& memory) {
    require_shape("TimestepSampler::restore: memory", memory.shape(), this->memory().shape());
    const View<const double> rows = memory;
    for (Index t = 0; t < memory.dim(0); ++t) {
      const double count = rows.row(t)[history];
      require(count >= 0 && count < 0x1p53 && count == std::floor(count) &&
                  std::all_of(rows.row(t), rows.row(t) + history,
                              [](double loss) { return std::isfinite(loss); }),
              "TimestepSampler::restore: no losses at timestep ", t, ", or ", count, " of them");
    }
    seen_ = 0;
    for (Index t = 0; t < std::ssize(counts_); ++t) {
      std::copy_n(rows.row(t), history, losses_.begin() + t * history);
      Index& count = counts_[static_cast<std::size_t>(t)];
      count = static_cast<Index>(rows.row(t)[history]);
      if (count >= history) ++seen_;
    }
    if (!counts_.empty() && warm()) accumulate();
  }

  /// True once every timestep has its history: until then draws are uniform.
  bool warm() const { return seen_ == T_; }

  /// Probability of timestep t in [0, T) at the next draw. Of loss_second_moment it is known once
  /// warm, of stratified for no single image; then it is uniform, as over a batch.
  double probability(Index t) const {
    if (cumulative_.empty()) return 1 / static_cast<double>(T_);
    const auto i = static_cast<std::size_t>(t);
    return (cumulative_[i] - (i > 0 ? cumulative_[i - 1] : 0)) / cumulative_.back();
  }

 private:
  void accumulate() {
    cumulative_.resize(static_cast<std::size_t>(T_));
    double total = 0;
    for (std::size_t t = 0; t < cumulative_.size(); ++t) {
      double squares = 0;
      for (std::size_t i = 0; i < history; ++i)
        squares += losses_[t * history + i] * losses_[t * history + i];
      total += cumulative_[t] = std::sqrt(squares / static_cast<double>(history));
    }
    double sum = 0;
    for (double& value : cumulative_) {
      const double share = total > 0 ? value / total : 1 / static_cast<double>(T_);
      sum += (1 - uniform_share) * share + uniform_share / static_cast<double>(T_);
      value = sum;
    }
  }

  TimestepSampling kind_;
  Index T_, seen_;  ///< seen_: timesteps with a full history
  std::vector<double> losses_, cumulative_;
  std::vector<Index> counts_;  ///< losses ever told for each timestep
};

}  // namespace ddpm::DDPM_ABI
