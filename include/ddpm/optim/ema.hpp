// Exponential moving average of the weights: e = d e + (1 - d) w after each update (Ho et al. 2020,
// appendix B: d = 0.9999).
//
// So slow an average is noise for thousands of steps; with warm-up d is min(decay, (1 + n) /
// (10 + n)) at the n-th update.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <vector>

#include "ddpm/optim/blocks.hpp"

namespace ddpm::DDPM_ABI::optim {

struct EmaOptions {
  double decay = 0.9999;  ///< in [0, 1); 0 keeps a plain copy
  bool warmup = true;
};

/// Averages `source` parameters into `average`, two lists of equal shapes.
template <class T>
class Ema {
 public:
  /// Throws PreconditionError if the lists or the decay do not fit.
  Ema(std::vector<Variable<T>> source, std::vector<Variable<T>> average,
      const EmaOptions& options = {})
      : source_(std::move(source)),
        average_(std::move(average)),
        options_(options),
        blocks_(make_blocks(source_)) {
    require(options.decay >= 0 && options.decay < 1, "Ema: decay is ", options.decay,
            ", expected [0, 1)");
    require(source_.size() == average_.size(), "Ema: ", average_.size(), " averages for ",
            source_.size(), " parameters");
    for (std::size_t i = 0; i < source_.size(); ++i)
      require_shape("Ema: average", average_[i].shape(), source_[i].shape());
  }

  /// Goes on as after so many updates. Throws PreconditionError if updates < 0.
  void resume_at(Index updates) {
    require(updates >= 0, "Ema::resume_at: ", updates, " updates, must not be negative");
    updates_ = updates;
  }

  void update() { for_each_block(blocks_, next_update()); }

  /// Begins an update: a function that blends one Block, to be called once for each block of the
  /// parameters, in any order.
  auto next_update() {
    const double n = static_cast<double>(updates_++);
    const double decay =
        options_.warmup ? std::min(options_.decay, (1 + n) / (10 + n)) : options_.decay;
    const T rest = static_cast<T>(1 - decay);
    const auto blend = [=](const auto& e, const auto& w) { return e + (w - e) * rest; };
    return [this, blend](const Block& block) {
      T* e = average_[block.parameter].value().data() + block.first;
      simd::map(blend, block.count, e, e, source_[block.parameter].value().data() + block.first);
    };
  }

 private:
  std::vector<Variable<T>> source_, average_;
  EmaOptions options_;
  PooledVector<Block> blocks_;
  Index updates_ = 0;
};

}  // namespace ddpm::DDPM_ABI::optim
