// The training loop of Ho et al. 2020 (algorithm 1 and appendix B): draw images, t and noise; one
// Adam step on L_simple, or another loss; average the weights.
//
// Image number i of the run takes its t and its noise from random stream i, whatever the batch
// (uniform timesteps; see TimestepSampling for the others).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>

#include "ddpm/data/loader.hpp"
#include "ddpm/diffusion/losses.hpp"
#include "ddpm/diffusion/timestep_sampler.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/optim/adam.hpp"
#include "ddpm/optim/clip.hpp"
#include "ddpm/optim/ema.hpp"
#include "ddpm/optim/learning_rate.hpp"
#include "ddpm/train/progress.hpp"

namespace ddpm::DDPM_ABI {

/// What on_step gets after an update.
struct TrainingStep {
  Index step;            ///< updates made, from 1
  double loss;           ///< mean over the step's images
  double gradient_norm;  ///< before clipping
  double learning_rate;
};

struct TrainerOptions {
  Index batch_size = 64;        ///< images of one forward pass, at least 1
  Index steps = 2000;           ///< updates of one fit(), at least 1
  double learning_rate = 2e-4;  ///< > 0
  Index warmup_steps = 0;       ///< the paper has 5000
  optim::Decay decay =
      optim::Decay::none;     ///< after the warm-up, over the steps of the first fit()
  double max_grad_norm = 1;   ///< > 0; infinity: no clipping
  double ema_decay = 0.9999;  ///< in [0, 1)
  bool ema_warmup = true;     ///< decay min(ema_decay, (1 + n) / (10 + n))
  Index accumulation = 1;     ///< batches whose gradients make one update, at least 1
  LossOptions loss = {};
  TimestepSampling timestep_sampling = TimestepSampling::uniform;
  double label_dropout = 0.1;    ///< share of labels hidden from the network, for guidance; [0, 1]
  bool horizontal_flip = false;  ///< mirror images at random
  std::uint64_t seed = 0;        ///< of data order, timesteps, noise, dropout
  optim::AdamOptions adam = {};
  Progress progress = Progress::automatic;
  Index sample_every = 0;  ///< updates between calls of on_sample; 0: never
  std::function<void(const TrainingStep&)> on_step = {};  ///< after every update
  std::function<void(Index step)> on_sample = {};         ///< every sample_every updates
  std::function<bool(const TrainingStep&)> stop = {};     ///< true ends fit() after this update
};

/// Trains a network in place and keeps the average of its weights.
template <class T, class Network = UNet<T>>
class Trainer {
 public:
  /// The network is shared, not copied. Throws PreconditionError if an option is out of range, or
  /// the loss does not go with the scheduler.
  Trainer(const Network& network, const Scheduler<T>& scheduler, const TrainerOptions& options = {})
      : options_((check(options), options)),
        network_(network),
        ema_network_(nn::clone<T>(network)),
        scheduler_(scheduler),
        timesteps_(options.timestep_sampling, scheduler.timesteps()),
        parameters_(nn::named_parameters<T>(network)),
        handles_(nn::parameters<T>(network)),
        adam_(handles_, options.adam),
        ema_(handles_, nn::parameters<T>(ema_network_), {options.ema_decay, options.ema_warmup}),
        learning_rate_{options.learning_rate, options.warmup_steps, options.decay, options.steps} {
    check_loss(options.loss, scheduler);
    learning_rate_.validate();
  }

  /// Makes options.steps updates on images (N, H, W, C) in [-1, 1]. A second call goes on from the
  /// first.
  /// Throws PreconditionError if images, labels or loss do not fit the network, NonFiniteError if
  /// loss or gradient stop being finite; the weights are then those of the last good update.
  void fit(const Tensor<T>& images) { fit({images, {}}); }
  /// The same with labels in [0, network.classes()) or no_label, for conditional generation.
  void fit(const data::LabelledImages<T>& data) {
    const Tensor<T>& images = data.images;
    data::Loader<T> loader(data,
                           {options_.batch_size, options_.seed, options_.horizontal_flip, drawn_});
    if (!data.labels.empty())
      check_labels("Trainer::fit", data.labels, images.dim(0), network_.classes());
    require(images.dim(3) == network_.sample_shape(1)[3], "Trainer::fit: images are ",
            images.shape(), ", the network expects ", network_.sample_shape(1)[3], " channels");
    ema_network_.config.image_size = {images.dim(1), images.dim(2)};
    ProgressDisplay progress("training", options_.steps, options_.progress);
    for (Index i = 1; i <= options_.steps; ++i) {
      const TrainingStep result = update(loader);
      drawn_ = loader.drawn();
      progress.update(i, options_.batch_size * options_.accumulation, result.loss);
      if (options_.on_step) options_.on_step(result);
      if (options_.on_sample && options_.sample_every > 0 && i % options_.sample_every == 0)
        options_.on_sample(result.step);
      if (options_.stop && options_.stop(result)) break;
    }
  }

  /// The averaged network, for sampling; its image_size is that of the images of the last fit().
  const Network& ema_model() const { return ema_network_; }
  const Network& model() const { return network_; }
  /// Updates made.
  Index steps() const { return adam_.steps(); }

 private:
  static void check(const TrainerOptions& options) {
    require(options.batch_size >= 1, "TrainerOptions: batch_size is ", options.batch_size,
            ", expected at least 1");
    require(options.steps >= 1, "TrainerOptions: steps is ", options.steps,
            ", expected at least 1");
    require(options.accumulation >= 1, "TrainerOptions: accumulation is ", options.accumulation,
            ", expected at least 1");
    require(options.max_grad_norm > 0, "TrainerOptions: max_grad_norm is ", options.max_grad_norm,
            ", must be positive");
    require(options.label_dropout >= 0 && options.label_dropout <= 1,
            "TrainerOptions: label_dropout is ", options.label_dropout, ", expected [0, 1]");
    require(options.sample_every >= 0, "TrainerOptions: sample_every is ", options.sample_every,
            ", must not be negative");
  }

  TrainingStep update(data::Loader<T>& loader) {
    adam_.zero_grad();
    double loss = 0;
    for (Index i = 0; i < options_.accumulation; ++i) loss += accumulate_gradients(loader);
    const Index step = adam_.steps();
    if (!std::isfinite(loss))
      throw NonFiniteError(message("training: the loss of step ", step + 1, " is ", loss));
    const double norm = optim::grad_norm(handles_);
    if (!std::isfinite(norm))
      throw NonFiniteError(message("training: the gradient of step ", step + 1,
                                   " is not finite in ", first_non_finite()));
    const double rate = learning_rate_.at(step);
    // Clipping, Adam and the average in one pass over memory.
    adam_.step(rate, optim::clip_factor(norm, options_.max_grad_norm), ema_.next_update());
    return {step + 1, loss, norm, rate};
  }

  /// Adds one batch's share to the gradients and returns its share of the loss.
  double accumulate_gradients(data::Loader<T>& loader) {
    const Index first = loader.drawn();
    data::Batch<T> batch = loader.next();
    hide_labels(batch.labels, first);
    const Index N = batch.images.dim(0);
    const Tensor<T> noise(batch.images.shape()), weights({N});
    PooledVector<Index> t(static_cast<std::size_t>(N));
    parallel_for(N, [&](Index n) {
      Rng rng(options_.seed, Purpose::noise, first + n);
      const auto [timestep, weight] = timesteps_.draw(rng, n, N);
      t[static_cast<std::size_t>(n)] = timestep;
      weights[n] = static_cast<T>(weight / static_cast<double>(options_.accumulation));
      fill_normal<T>(noise.slice(n, 1), rng);
    });
    Rng dropout(options_.seed, Purpose::dropout, first);
    const Variable<T> losses = training_losses(network_, scheduler_, batch.images, noise, t,
                                               batch.labels, &dropout, options_.loss);
    const Variable<T> loss = weighted_mean(losses, weights);
    const auto value = static_cast<double>(loss.value()[0]);
    if (std::isfinite(value)) timesteps_.template update<T>(t, losses.value());
    loss.backward();
    return value;
  }

  /// Hides a share of the labels, so that the network learns to do without (Ho & Salimans 2022,
  /// algorithm 1).
  void hide_labels(PooledVector<Index>& labels, Index first) const {
    for (Index n = 0; n < std::ssize(labels); ++n)
      if (Rng(options_.seed, Purpose::label, first + n).uniform() < options_.label_dropout)
        labels[static_cast<std::size_t>(n)] = no_label;
  }

  const std::string& first_non_finite() const {
    for (const auto& [name, parameter] : parameters_)
      for (const T g : parameter.grad())
        if (!std::isfinite(g)) return name;
    return parameters_.front().name;  // finite values whose squares overflow
  }

  TrainerOptions options_;
  Network network_, ema_network_;
  Scheduler<T> scheduler_;
  TimestepSampler timesteps_;
  std::vector<nn::NamedParameter<T>> parameters_;
  std::vector<Variable<T>> handles_;
  optim::Adam<T> adam_;
  optim::Ema<T> ema_;
  optim::LearningRate learning_rate_;
  Index drawn_ = 0;  ///< images seen
};

}  // namespace ddpm::DDPM_ABI
