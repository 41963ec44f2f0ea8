// Adam (Kingma & Ba 2015, algorithm 1), and AdamW (Loshchilov & Hutter 2019, algorithm 2) where the
// weight decay is not 0.
//
//   m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
//   w -= rate (m / (1 - b1^k) / (sqrt(v / (1 - b2^k)) + eps) + decay w)      at the k-th step
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "ddpm/optim/blocks.hpp"

namespace ddpm::DDPM_ABI::optim {

struct AdamOptions {
  double beta1 = 0.9;       ///< in [0, 1)
  double beta2 = 0.999;     ///< in [0, 1)
  double eps = 1e-8;        ///< > 0
  double weight_decay = 0;  ///< decoupled (AdamW), >= 0
};

struct DoNothing {
  void operator()(const Block&) const {}
};

template <class T>
class Adam {
 public:
  /// Throws PreconditionError if an option is out of range.
  explicit Adam(std::vector<Variable<T>> parameters, const AdamOptions& options = {})
      : parameters_(std::move(parameters)), options_(options), blocks_(make_blocks(parameters_)) {
    require(options.beta1 >= 0 && options.beta1 < 1, "Adam: beta1 is ", options.beta1,
            ", expected [0, 1)");
    require(options.beta2 >= 0 && options.beta2 < 1, "Adam: beta2 is ", options.beta2,
            ", expected [0, 1)");
    require(options.eps > 0, "Adam: eps is ", options.eps, ", must be positive");
    require(options.weight_decay >= 0, "Adam: weight_decay is ", options.weight_decay,
            ", must not be negative");
    for (const auto& parameter : parameters_) {
      first_.emplace_back(parameter.shape(), T(0));
      second_.emplace_back(parameter.shape(), T(0));
    }
  }

  /// One update of every parameter that has a gradient, each gradient times gradient_scale (the
  /// clipping's). `after` is called with each Block once its values are new, while they are in the
  /// cache, from any thread: Ema::next_update() fits.
  /// Throws PreconditionError if the rate is negative or not finite.
  template <class After = DoNothing>
  void step(double learning_rate, double gradient_scale = 1, const After& after = {}) {
    require(learning_rate >= 0 && std::isfinite(learning_rate), "Adam: learning rate is ",
            learning_rate, ", expected a finite number, 0 or more");
    ++steps_;
    const double k = static_cast<double>(steps_);
    const T scale2 = static_cast<T>(1 / std::sqrt(1 - std::pow(options_.beta2, k)));
    const T rate = static_cast<T>(learning_rate / (1 - std::pow(options_.beta1, k)));
    const T keep = static_cast<T>(1 - learning_rate * options_.weight_decay);
    const T b1 = static_cast<T>(options_.beta1), b2 = static_cast<T>(options_.beta2);
    const T eps = static_cast<T>(options_.eps), scale = static_cast<T>(gradient_scale);
    const T share1 = (1 - b1) * scale, share2 = (1 - b2) * scale * scale;
    const auto first_moment = [=](const auto& m, const auto& g) { return m * b1 + g * share1; };
    const auto second_moment = [=](const auto& v, const auto& g) {
      return v * b2 + g * g * share2;
    };
    const auto update = [=](const auto& w, const auto& m, const auto& v) {
      return w * keep - rate * m / (simd::sqrt(v) * scale2 + eps);
    };
    for_each_block(blocks_, [&](const Block& block) {
      const Tensor<T> grad = parameters_[block.parameter].grad();
      if (grad.empty()) return after(block);
      T* w = parameters_[block.parameter].value().data() + block.first;
      T* m = first_[block.parameter].data() + block.first;
      T* v = second_[block.parameter].data() + block.first;
      const T* g = grad.data() + block.first;
      simd::map(first_moment, block.count, m, m, g);
      simd::map(second_moment, block.count, v, v, g);
      simd::map(update, block.count, w, w, m, v);
      after(block);
    });
  }

  void zero_grad() const {
    for (const auto& parameter : parameters_) parameter.zero_grad();
  }

  /// Updates made.
  Index steps() const { return steps_; }

  /// The running means of gradients and of their squares, one tensor a parameter; handles: what is
  /// written to them counts.
  const std::vector<Tensor<T>>& first_moments() const { return first_; }
  const std::vector<Tensor<T>>& second_moments() const { return second_; }
  /// Goes on as after so many updates. Throws PreconditionError if steps < 0.
  void resume_at(Index steps) {
    require(steps >= 0, "Adam::resume_at: ", steps, " steps, must not be negative");
    steps_ = steps;
  }

 private:
  std::vector<Variable<T>> parameters_;
  AdamOptions options_;
  PooledVector<Block> blocks_;
  std::vector<Tensor<T>> first_, second_;  ///< moments
  Index steps_ = 0;
};

}  // namespace ddpm::DDPM_ABI::optim
