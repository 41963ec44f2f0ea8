// From a timestep, and a class where the network knows classes, to the vector that every residual
// block gets: sinusoidal embedding, dense, activation, dense, plus the class's vector, SiLU (Ho et
// al. 2020, appendix B; classes as in Dhariwal & Nichol 2021). The last SiLU is that with which
// each block's projection begins; it is the same for all, so it stands here once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/activation.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/autograd/ops/embedding.hpp"
#include "ddpm/autograd/ops/time_embedding.hpp"
#include "ddpm/core/labels.hpp"
#include "ddpm/nn/layers.hpp"

namespace ddpm::DDPM_ABI::nn {

/// A learned vector for each class, and a last one for "no class" (Ho & Salimans 2022).
template <class T>
struct ClassEmbedding {
  Variable<T> table;  ///< (classes + 1, channels), starts standard normal

  ClassEmbedding(Index classes, Index channels, Rng& rng) {
    Tensor<T> values({classes + 1, channels});
    fill_normal<T>(values, rng);
    table = Variable<T>::parameter(values);
  }

  Index classes() const { return table.dim(0) - 1; }

  /// (N, channels) for N labels in [0, classes) or no_label; for none at all, N times no_label.
  Variable<T> operator()(std::span<const Index> labels, std::size_t N) const {
    PooledVector<Index> rows(N, classes());
    for (std::size_t n = 0; n < labels.size(); ++n)
      if (labels[n] != no_label) rows[n] = labels[n];
    return embedding(table, std::span<const Index>(rows));
  }

  static void members(auto& self, auto&& visit) { visit("table", self.table); }
};

/// The activation between the two dense layers: SiLU in the paper, GELU in the tutorial.
enum class TimeActivation { silu, gelu };

using kernels::TimeEmbeddingOptions;

template <class T>
struct TimeMlp {
  Linear<T> linear1, linear2;
  std::optional<ClassEmbedding<T>> classes;
  TimeActivation activation;
  TimeEmbeddingOptions embedding;

  TimeMlp(Index channels, TimeActivation time_activation, Index class_count, Rng& rng,
          const TimeEmbeddingOptions& options = {})
      : linear1(channels, 4 * channels, rng),
        linear2(4 * channels, 4 * channels, rng),
        classes(class_count > 0 ? std::optional<ClassEmbedding<T>>(std::in_place, class_count,
                                                                   4 * channels, rng)
                                : std::nullopt),
        activation(time_activation),
        embedding(options) {}

  /// (N) timesteps, and (N) labels or none, to (N, 4 channels).
  Variable<T> operator()(std::span<const double> t, std::span<const Index> labels) const {
    Variable<T> h = linear1(time_embedding<T>(t, linear1.weight.dim(0), embedding));
    h = linear2(activation == TimeActivation::silu ? silu(h) : gelu(h));
    return silu(classes ? h + (*classes)(labels, t.size()) : h);
  }

  static void members(auto& self, auto&& visit) {
    visit("linear1", self.linear1);
    visit("linear2", self.linear2);
    visit("classes", self.classes);
  }
};

}  // namespace ddpm::DDPM_ABI::nn
