// What describes a training run, as plain data: it can be written to a file and read back.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <string_view>

#include "ddpm/core/precision.hpp"
#include "ddpm/diffusion/losses.hpp"
#include "ddpm/diffusion/timestep_sampler.hpp"
#include "ddpm/optim/adam.hpp"
#include "ddpm/optim/learning_rate.hpp"
#include "ddpm/train/progress.hpp"

namespace ddpm::DDPM_ABI {

/// When fit() writes a run state by itself, see Trainer::save(), and how many it leaves.
struct SaveOptions {
  std::string folder = {};  ///< where; empty: no state is written
  double minutes = 1;       ///< between two states, by the clock; 0: not by the clock
  Index steps = 0;          ///< updates between two states; 0: not by their number
  Index keep = 2;           ///< states that stay, the newest, at least 1

  /// Throws PreconditionError that names the first field out of range.
  void validate() const {
    require(minutes >= 0, "SaveOptions: minutes is ", minutes, ", must not be negative");
    require(steps >= 0, "SaveOptions: steps is ", steps, ", must not be negative");
    require(keep >= 1, "SaveOptions: keep is ", keep, ", expected at least 1");
  }
};

/// What fit() does with an update whose loss or gradient is not finite.
enum class NonFinite {
  fail,    ///< throws NonFiniteError
  skip,    ///< leaves it out and goes on with the next images
  reload,  ///< also goes back to the run state saved last, or to that at the start of fit()
};
template <>
inline constexpr auto enum_names<NonFinite> = named<NonFinite>("fail", "skip", "reload");

struct TrainerOptions {
  Index batch_size = 64;        ///< images of one forward pass, at least 1
  Index steps = 2000;           ///< updates of one fit(), at least 1
  double learning_rate = 2e-4;  ///< in (0, 1]: Adam moves each weight by about that much
  Index warmup_steps = 0;       ///< the paper has 5000
  /// After the warm-up. A cosine ends with the fit() that it began with; the next begins a new one.
  optim::Decay decay = optim::Decay::none;
  double max_grad_norm = 1;   ///< > 0; infinity: no clipping
  double ema_decay = 0.9999;  ///< in [0, 1)
  bool ema_warmup = true;     ///< decay min(ema_decay, (1 + n) / (10 + n))
  Index accumulation = 1;     ///< batches whose gradients make one update, at least 1
  LossOptions loss = {};
  TimestepSampling timestep_sampling = TimestepSampling::uniform;
  double label_dropout = 0.1;    ///< share of labels hidden from the network, for guidance; [0, 1]
  bool horizontal_flip = false;  ///< mirror images at random
  std::uint64_t seed = 0;        ///< of data order, flips, timesteps, noise, hidden labels, dropout
  optim::AdamOptions adam = {};
  Precision precision = matmul_precision();  ///< of products; weights and moments stay T
  // What follows is no part of the run's description: it may be another when the run goes on.
  Progress progress = Progress::automatic;  ///< what is shown
  SaveOptions save = {};
  NonFinite non_finite = NonFinite::fail;  ///< reload needs save.folder
  Index most_skipped = 10;       ///< such updates in a row that do not yet end fit(), at least 1
  std::size_t memory_limit = 0;  ///< bytes that the process may hold; 0: not limited

  /// Throws PreconditionError that names the first field out of range. (Those of learning rate,
  /// average, loss and Adam are checked by these.)
  void validate() const {
    const auto at_least_one = [](const char* name, Index value) {
      require(value >= 1, "TrainerOptions: ", name, " is ", value, ", expected at least 1");
    };
    at_least_one("batch_size", batch_size);
    at_least_one("steps", steps);
    at_least_one("accumulation", accumulation);
    require(!(learning_rate > 1), "TrainerOptions: learning_rate is ", learning_rate,
            ", expected at most 1: Adam moves each weight by about that much in a step");
    require(max_grad_norm > 0, "TrainerOptions: max_grad_norm is ", max_grad_norm,
            ", must be positive");
    require(label_dropout >= 0 && label_dropout <= 1, "TrainerOptions: label_dropout is ",
            label_dropout, ", expected [0, 1]");
    at_least_one("most_skipped", most_skipped);
    require(non_finite != NonFinite::reload || !save.folder.empty(),
            "TrainerOptions: non_finite is reload, which needs save.folder");
    save.validate();
  }

  /// Names every field that describes the run once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    visit("batch_size", self.batch_size);
    visit("steps", self.steps);
    visit("learning_rate", self.learning_rate);
    visit("warmup_steps", self.warmup_steps);
    visit("decay", self.decay);
    visit("max_grad_norm", self.max_grad_norm);
    visit("ema_decay", self.ema_decay);
    visit("ema_warmup", self.ema_warmup);
    visit("accumulation", self.accumulation);
    visit("loss", self.loss.loss);
    visit("snr_gamma", self.loss.snr_gamma);
    visit("hybrid_share", self.loss.hybrid_share);
    visit("timestep_sampling", self.timestep_sampling);
    visit("label_dropout", self.label_dropout);
    visit("horizontal_flip", self.horizontal_flip);
    visit("seed", self.seed);
    visit("adam_beta1", self.adam.beta1);
    visit("adam_beta2", self.adam.beta2);
    visit("adam_eps", self.adam.eps);
    visit("weight_decay", self.adam.weight_decay);
    visit("precision", self.precision);
  }
  /// Not in older files.
  static constexpr std::array<std::string_view, 1> later_fields{"precision"};
};

}  // namespace ddpm::DDPM_ABI
