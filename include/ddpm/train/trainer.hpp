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
#include "ddpm/nn/unet.hpp"
#include "ddpm/optim/clip.hpp"
#include "ddpm/optim/ema.hpp"
#include "ddpm/train/trainable.hpp"
#include "ddpm/train/trainer_options.hpp"

namespace ddpm::DDPM_ABI {

/// What a callback of fit() gets after an update.
struct TrainingStep {
  Index step;            ///< updates made, from 1
  double loss;           ///< mean over the step's images
  double gradient_norm;  ///< before clipping
  double learning_rate;
};

/// Trains a network in place and keeps the average of its weights.
template <class T, TrainableNetwork<T> Network = UNet<T>>
class Trainer {
 public:
  /// Called by fit() after every update, with the trainer: the callback may draw samples from its
  /// averaged network, save it, or stop().
  using OnStep = std::function<void(Trainer&, const TrainingStep&)>;

  /// The network is shared, not copied. Throws PreconditionError if an option is out of range, or
  /// the loss does not go with the scheduler.
  Trainer(const Network& network, const Scheduler<T>& scheduler, const TrainerOptions& options = {})
      : options_((options.validate(), options)),
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

  /// Makes options.steps updates on a data set (data/dataset.hpp), whose labels, if it has any, are
  /// in [0, network.classes()) or no_label. A second call goes on from the first: same moments,
  /// same average, next images. Throws PreconditionError if the data do not fit the network;
  /// NonFiniteError as soon as loss or gradient stop being finite; the weights are then those of
  /// the last good update.
  template <data::Dataset<T> D>
  void fit(const D& data, const OnStep& on_step = {}) {
    data::Loader<T> loader(data,
                           {options_.batch_size, options_.seed, options_.horizontal_flip, drawn_});
    take_shape(data.image_shape());
    check_classes(data);
    ProgressDisplay progress("training", options_.steps, options_.progress);
    stopped_ = false;
    learning_rate_.start = adam_.steps();
    set_steps(options_.steps);
    for (Index i = 1; i <= steps_ && !stopped_; ++i) {
      const TrainingStep result = update(loader);
      drawn_ = loader.drawn();
      progress.set_steps(steps_);
      progress.update(i, options_.batch_size * options_.accumulation, result.loss);
      if (on_step) on_step(*this, result);
    }
  }
  /// The same on images (N, H, W, C) in [-1, 1].
  void fit(const Tensor<T>& images, const OnStep& on_step = {}) {
    fit(data::LabelledImages<T>{images, {}}, on_step);
  }

  /// Ends fit() after this update; for callbacks.
  void stop() { stopped_ = true; }

  /// Makes the fit() that runs as many updates long as that; the cosine follows. For callbacks that
  /// know better after a while, by the clock, say. Throws PreconditionError if steps < 1.
  void set_steps(Index steps) {
    require(steps >= 1, "Trainer::set_steps: ", steps, ", expected at least 1");
    steps_ = learning_rate_.total_steps = steps;
  }

  /// The averaged network, for sampling; where it takes images of several sizes, it makes those of
  /// the last fit().
  const Network& ema_model() const { return ema_network_; }
  const Network& model() const { return network_; }
  /// Updates made.
  Index steps() const { return adam_.steps(); }

 private:
  /// Throws PreconditionError unless images (H, W, C) fit the network, and tells it their size.
  void take_shape(const Shape& image) {
    const Index channels = network_.sample_shape(1)[3];
    require(image[2] == channels, "Trainer::fit: images are ", image, ", the network expects ",
            channels, " channels");
    if constexpr (requires { network_.set_image_size(image[0], image[1]); })
      for (Network* network : {&network_, &ema_network_})
        network->set_image_size(image[0], image[1]);
  }

  /// Throws PreconditionError if a pixel is far outside of [-1, 1]. Not-a-numbers are left to the
  /// check of the loss.
  static void check_range(const Tensor<T>& images) {
    constexpr T most = 16;  // data of unit variance pass, bytes do not
    for (const T pixel : images)
      require(!(std::abs(pixel) > most), "Trainer::fit: a pixel is ", pixel,
              ", expected [-1, 1]; of bytes take x / 127.5 - 1, as data::ImageSet does");
  }

  template <class D>
  void check_classes(const D& data) const {
    if (!data::has_labels(data)) return;
    std::vector<Index> labels;
    for (Index i = 0; i < data.size(); ++i) labels.push_back(data::label_of(data, i));
    check_labels("Trainer::fit", labels, data.size(), network_.classes());
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
    check_range(batch.images);
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
  Index steps_ = 1;  ///< of the fit() that runs
  bool stopped_ = false;
};

}  // namespace ddpm::DDPM_ABI
