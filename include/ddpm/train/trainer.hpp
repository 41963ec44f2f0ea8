// The training loop of Ho et al. 2020 (algorithm 1 and appendix B): draw images, t and noise; one
// Adam step on L_simple, or another loss; average the weights.
//
// Image number i of the run takes its t and its noise from random stream i, whatever the batch
// (uniform timesteps; see TimestepSampling for the others).
//
// A run that was saved goes on, in another process too, as if it had never stopped: bit for bit.
//
// An update is made of options.accumulation shards, batches of options.batch_size images, whose
// gradients, losses and all else are summed by one binary tree. Several processes (ranks) may share
// the shards of each update, see distribute(); the bits are those of one process.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "ddpm/core/scratch.hpp"
#include "ddpm/data/loader.hpp"
#include "ddpm/distributed/rank_gradient_sum.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/optim/clip.hpp"
#include "ddpm/train/agreement.hpp"
#include "ddpm/train/memory_need.hpp"
#include "ddpm/train/saver.hpp"
#include "ddpm/train/training_state.hpp"
#include "ddpm/train/training_step.hpp"

namespace ddpm::DDPM_ABI {

namespace io {
class Safetensors;
}

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
      : state_(network, scheduler, (options.validate(), options)),
        learning_rate_{options.learning_rate, options.warmup_steps, options.decay, options.steps},
        saver_(options.save),
        agreement_(std::make_unique<Agreement>()),
        gradients_(std::make_unique<distributed::GradientSum<T>>(state_.handles.size())) {
    check_loss(options.loss, scheduler);
    learning_rate_.validate();
  }

  /// From now on each update's shards are shared with the other ranks, whose trainers were made
  /// with the same network, scheduler and options and do the same; the communicator must outlive
  /// this. Only rank 0 shows progress and writes run states; set_steps() counts there and holds for
  /// all, stop() on any of them ends all. Whatever fit() throws on one rank ends the work of all.
  /// Throws PreconditionError if there are more ranks than shards (options.accumulation), or fit()
  /// is running.
  template <distributed::Communicator C>
  void distribute(C& communicator) {
    const Index ranks = communicator.size();
    require(!running_, "Trainer::distribute: fit() is running");
    require(ranks <= options().accumulation, "Trainer::distribute: ", ranks,
            " ranks share accumulation = ", options().accumulation, " batches of ",
            options().batch_size, " images; expected at least one for each");
    const distributed::Ranks all(communicator);
    auto gradients = std::make_unique<distributed::GradientSum<T>>(state_.handles.size());
    auto agreement = std::make_unique<Agreement>();
    if (ranks > 1) {
      std::vector<Shape> shapes;
      for (const auto& handle : state_.handles) shapes.push_back(handle.shape());
      gradients = std::make_unique<distributed::RankGradientSum<T>>(std::move(shapes), all);
      agreement = std::make_unique<RankAgreement>(
          all, message(name_of(options().non_finite), " ", options().most_skipped));
    }
    ranks_ = all;  // nothing can fail from here on
    gradients_ = std::move(gradients);
    agreement_ = std::move(agreement);
    if (leads()) return;
    state_.options.save.folder.clear();
    saver_.turn_off();
    state_.options.progress = Progress::silent;
  }

  /// Makes options.steps updates on a data set (data/dataset.hpp), whose labels, if it has any, are
  /// in [0, network.classes()) or no_label. A second call goes on from the first: same moments,
  /// same average, next images; a cosine begins anew. After resume() it is the call that was saved
  /// which goes on: it makes what is left of options.steps updates, maybe none. Where
  /// options.save names a folder, run states are written there meanwhile and at the end.
  /// Throws PreconditionError if the data do not fit the network, are far outside of [-1, 1], or
  /// are others than those of the run that is resumed; if more than options.memory_limit is needed;
  /// or if options.save.folder holds the states of another run. NonFiniteError as soon as loss or
  /// gradient stop being finite, unless options.non_finite says otherwise; the weights are then
  /// those of the last good update. IoError if options.save.folder cannot be made, has no room for
  /// a state, or the last state cannot be written.
  template <data::Dataset<T> D>
  void fit(const D& data, const OnStep& on_step = {}) {
    try {
      run(data, on_step);
    } catch (const std::exception& error) {
      ranks_.abort(error.what());
      throw;
    } catch (...) {
      ranks_.abort("something that is no std::exception was thrown");
      throw;
    }
  }
  /// The same on images (N, H, W, C) in [-1, 1].
  void fit(const Tensor<T>& images, const OnStep& on_step = {}) {
    fit(data::LabelledImages<T>{images, {}}, on_step);
  }

  /// Ends fit() after this update; for callbacks.
  void stop() { stopped_ = true; }
  /// Whether stop() ended the last fit(), on any rank.
  bool stopped() const { return stopped_; }

  /// Makes the fit() that runs as many updates long as that; the cosine follows. For callbacks that
  /// know better after a while, by the clock, say. Throws PreconditionError if steps < 1.
  void set_steps(Index steps) {
    require(steps >= 1, "Trainer::set_steps: ", steps, ", expected at least 1");
    steps_ = learning_rate_.total_steps = steps;
  }

  /// The averaged network, for sampling; where it takes images of several sizes, it makes those of
  /// the last fit().
  const Network& ema_model() const { return state_.ema_network; }
  const Network& model() const { return state_.network; }
  /// Updates made.
  Index steps() const { return state_.adam.steps(); }
  /// Updates left out, since they were not finite.
  Index skipped() const { return state_.position.skipped; }
  /// Mean loss of the last hundred updates or so; 0 before the first.
  double mean_loss() const {
    return state_.position.mean_loss_weight > 0
               ? state_.position.mean_loss / state_.position.mean_loss_weight
               : 0;
  }

  /// When the gradients of the last update went between ranks.
  const distributed::CommunicationTimes& communication() const { return gradients_->times(); }

  /// Memory that fit() takes at its peak on images (H, W, C), found without training: within 15 %
  /// of what the process then holds for it, as far as the steps and saving go; samples drawn
  /// meanwhile, and the data, come on top. Throws PreconditionError if the images do not fit the
  /// network.
  MemoryNeed memory_need(const Shape& image) {
    check_shape(image);
    state_.take_shape(image);
    MemoryNeed need;
    need.model = state_.bytes();
    const int copies = (options().save.folder.empty() ? 0 : 1) +
                       (options().non_finite == NonFinite::reload ? 1 : 0);
    need.saving = need.model * static_cast<std::size_t>(copies);
    const TimestepSampler before = state_.timesteps;
    memory::trim();
    const std::size_t touched = memory::statistics().bytes_touched;
    std::size_t room = 0;  // of the kernels; until it has grown, other memory is taken instead
    do {
      state_.adam.zero_grad();
      memory::trim();
      room = scratch_bytes();
      dry_step(image);
    } while (scratch_bytes() > room);
    need.step = memory::statistics().bytes_touched - touched + waiting_sums() * need.model / 4;
    state_.adam.zero_grad();
    memory::trim();
    state_.timesteps = before;
    return need;
  }

  /// Writes a run state: all that the next update depends on. An older file at `path` stays whole
  /// until the new one is. Throws IoError; NonFiniteError if a value is not finite.
  void save(const std::filesystem::path& path) const { state_.snapshot(false)->write(path); }

  /// Takes over a run state that a trainer with the same network, scheduler and options wrote;
  /// only options.steps may be others, and what is no part of the run's description. The next
  /// fit() goes on where that run was. Needs io/safetensors.hpp.
  /// Throws IoError if the file is damaged or no run state, or lists every difference; the trainer
  /// is then untouched.
  template <class File = io::Safetensors>
  void resume(const std::filesystem::path& path) {
    state_.template read<File>(path);
    resumed_ = true;
  }

 private:
  /// fit(), whose errors reach the other ranks.
  template <class D>
  void run(const D& data, const OnStep& on_step) {
    const detail::Scoped running(running_, true);
    const distributed::Share own = own_shards();
    data::Loader<T> loader(data, {.batch_size = options().batch_size,
                                  .seed = options().seed,
                                  .horizontal_flip = options().horizontal_flip,
                                  .drawn = state_.position.drawn,
                                  .batches = options().accumulation,
                                  .first_batch = own.count > 0 ? own.first : 0,
                                  .own_batches = std::max<Index>(own.count, 1)});
    check_classes(data);
    check_shape(data.image_shape());
    take_digest(data::digest<T>(data));
    if (options().memory_limit > 0) check_memory(data.image_shape());
    state_.take_shape(data.image_shape());
    saver_.begin(steps(), resumed_, state_.bytes());
    if (!resumed_) state_.position.fit_start = steps();
    if (ranks_.size() > 1) agreement_->check_run(*state_.snapshot(false));
    resumed_ = stopped_ = false;
    failures_ = failed_step_ = 0;
    if (options().non_finite == NonFinite::reload) good_ = state_.snapshot(true);
    learning_rate_.start = state_.position.fit_start;
    set_steps(options().steps);
    ProgressDisplay progress("training", steps_, options().progress);
    while (steps() - state_.position.fit_start < steps_ && !stopped_) {
      const auto result = update(loader);
      state_.position.drawn += options().batch_size * options().accumulation;
      if (!result) continue;
      const Index made = steps() - state_.position.fit_start;
      progress.set_steps(steps_);
      progress.update(made, options().batch_size * options().accumulation, result->loss);
      if (on_step) on_step(*this, *result);
      const Decision next = agreement_->decide({steps_, stopped_, saver_.due(steps())});
      set_steps(next.steps);
      if (next.stop) stopped_ = true;
      if (made < steps_ && !stopped_ && next.save) save_between();
    }
    if (saver_.active()) saver_.start(state_.snapshot(false), steps());
    saver_.finish();
    good_.reset();
  }

  /// Sums of gradients that wait for others while the last of several shards is worked on, but for
  /// the one that dry_step() holds too.
  std::size_t waiting_sums() const {
    const auto shards = static_cast<std::size_t>(std::max<Index>(own_shards().count, 2));
    return static_cast<std::size_t>(std::bit_width(shards - 1)) - 1;
  }

  /// The gradients of a step, for their memory only: of two shards at most.
  void dry_step(const Shape& image) {
    const detail::FirstTasksOnly guard;
    const Index N = options().batch_size, shards = std::min<Index>(own_shards().count, 2);
    gradients_->begin(shards + 1, shards + 1);  // so that nothing is sent
    for (Index i = 0; i < shards; ++i) {
      data::Batch<T> batch{Tensor<T>({N, image[0], image[1], image[2]}), {}};
      if (state_.network.classes() > 0) batch.labels.assign(static_cast<std::size_t>(N), 0);
      add_shard(batch, 0);
    }
    gradients_->begin(1, 1);
  }

  const TrainerOptions& options() const { return state_.options; }
  bool leads() const { return ranks_.rank() == 0; }

  distributed::Share own_shards() const {
    return distributed::shards_of(options().accumulation, ranks_.rank(), ranks_.size());
  }

  /// Throws PreconditionError if training needs more memory than allowed.
  void check_memory(const Shape& image) {
    const std::size_t held = process_bytes(), limit = options().memory_limit;
    std::string needed = "more than the system has";
    try {
      const MemoryNeed need = memory_need(image);
      const std::size_t total = held + need.step + need.saving;
      if (total <= limit) return;
      needed =
          message(bytes_text(total), " (", bytes_text(held), " held already, ",
                  bytes_text(need.step), " for a step, ", bytes_text(need.saving), " for saving)");
    } catch (const std::bad_alloc&) {
    }
    require(false, "Trainer::fit: the memory needed is ", needed, ", allowed are ",
            bytes_text(limit), "; a smaller batch with more accumulation needs less");
  }

  /// Writes a run state while training goes on; where there is no memory for a copy of it, training
  /// waits.
  void save_between() {
    if (!saver_.active()) {  // another rank writes it
      if (options().non_finite == NonFinite::reload) good_ = state_.snapshot(true);
      return;
    }
    try {
      const auto now = state_.snapshot(true);
      if (options().non_finite == NonFinite::reload) good_ = now;
      saver_.start(now, steps());
    } catch (const std::bad_alloc&) {
      // All ranks must be able to go back to the same state.
      if (options().non_finite == NonFinite::reload && ranks_.size() > 1) throw;
      saver_.start(state_.snapshot(false), steps());
      saver_.finish(false);
    }
  }

  /// The data of this fit(). Throws PreconditionError if a resumed run had others.
  void take_digest(const data::Digest& digest) {
    const bool known = resumed_ && state_.digest.images > 0;
    require(!known || digest == state_.digest,
            "Trainer::fit: the resumed run had other data: ", state_.digest, "; these are ",
            digest);
    state_.digest = digest;
  }

  /// Throws PreconditionError unless images (H, W, C) fit the network.
  void check_shape(const Shape& image) const {
    const Index channels = state_.network.sample_shape(1)[3];
    require(image.rank() == 3 && image[2] == channels, "Trainer: images are ", image,
            ", the network expects (H, W, ", channels, ")");
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
    check_labels("Trainer::fit", labels, data.size(), state_.network.classes());
  }

  /// An update; none if it was left out, since it was not finite.
  std::optional<TrainingStep> update(data::Loader<T>& loader) {
    state_.adam.zero_grad();
    const distributed::Share own = own_shards();
    gradients_->begin(options().accumulation, own.count);
    PooledVector<double> records;
    for (Index i = 0; i < own.count; ++i) {
      const Index first = loader.drawn();
      data::Batch<T> batch = loader.next();
      check_range(batch.images);
      const auto record = add_shard(batch, first);
      records.append(record.begin(), record.end());
    }
    gradients_->finish(
        [&](std::size_t i, const Tensor<T>& sum) { state_.handles[i].set_grad(sum); });
    const double loss = take_records(std::move(records));
    const Index step = state_.adam.steps();
    const double norm = std::isfinite(loss) ? optim::grad_norm(state_.handles) : loss;
    agreement_->check_norm(norm);
    if (!std::isfinite(norm)) {
      leave_out(loss);
      return std::nullopt;
    }
    if (step + 1 >= failed_step_) failures_ = 0;
    const double rate = learning_rate_.at(step);
    // Clipping, Adam and the average in one pass over memory.
    state_.adam.step(rate, optim::clip_factor(norm, options().max_grad_norm),
                     state_.ema.next_update());
    state_.position.mean_loss = 0.99 * state_.position.mean_loss + 0.01 * loss;
    state_.position.mean_loss_weight = 0.99 * state_.position.mean_loss_weight + 0.01;
    return TrainingStep{step + 1, loss, norm, rate, loss_by_time_.means()};
  }

  /// Does what options.non_finite says with an update that is not finite.
  void leave_out(double loss) {
    const Index step = steps() + 1;
    const std::string problem = message(
        "training: the ", std::isfinite(loss) ? "gradient" : "loss", " of step ", step, " is ",
        std::isfinite(loss) ? std::string("not finite") : message(loss), first_non_finite());
    if (options().non_finite == NonFinite::fail) throw NonFiniteError(problem);
    failed_step_ = std::max(failed_step_, step);
    if (++failures_ > options().most_skipped)
      throw NonFiniteError(
          message(problem, ", after ", options().most_skipped, " that were left out"));
    ++state_.position.skipped;
    const bool reload = options().non_finite == NonFinite::reload;
    if (reload) state_.restore(*good_);
    if (leads())
      std::cerr << "\nwarning: " << problem << "; it is left out"
                << (reload ? message(", back to step ", steps()) : "") << '\n';
  }

  /// Adds the gradients of one shard, and returns what is to be known of it: its share of the loss,
  /// then the timestep and the loss of each image. `first` is the number of its first image.
  PooledVector<double> add_shard(data::Batch<T>& batch, Index first) {
    const PrecisionScope scope(options().precision);
    hide_labels(batch.labels, first);
    const Index N = batch.images.dim(0);
    const Tensor<T> noise(batch.images.shape()), weights({N});
    PooledVector<Index> t(static_cast<std::size_t>(N));
    parallel_for(N, [&](Index n) {
      Rng rng(options().seed, Purpose::noise, first + n);
      const auto [timestep, weight] = state_.timesteps.draw(rng, n, N);
      t[static_cast<std::size_t>(n)] = timestep;
      weights[n] = static_cast<T>(weight / static_cast<double>(options().accumulation));
      fill_normal<T>(noise.slice(n, 1), rng);
    });
    Rng dropout(options().seed, Purpose::dropout, first);
    const Variable<T> losses = training_losses(state_.network, state_.scheduler, batch.images,
                                               noise, t, batch.labels, &dropout, options().loss);
    const Variable<T> loss = weighted_mean(losses, weights);
    PooledVector<double> record{static_cast<double>(loss.value()[0])};
    for (Index n = 0; n < N; ++n) {
      record.push_back(static_cast<double>(t[static_cast<std::size_t>(n)]));
      record.push_back(static_cast<double>(losses.value()[n]));
    }
    loss.backward([this](const Variable<T>& parameter) {
      const auto found = std::find_if(
          state_.handles.begin(), state_.handles.end(),
          [&](const Variable<T>& handle) { return handle.identity() == parameter.identity(); });
      if (found == state_.handles.end()) return;
      gradients_->add(static_cast<std::size_t>(found - state_.handles.begin()), parameter.grad());
      parameter.zero_grad();
    });
    for (std::size_t i = 0; i < state_.handles.size();
         ++i)  // those that an op has kept from the end
      if (const Tensor<T> grad = state_.handles[i].grad(); !grad.empty()) {
        gradients_->add(i, grad);
        state_.handles[i].zero_grad();
      }
    gradients_->end_shard();
    return record;
  }

  /// Takes what add_shard() tells of this rank's shards, and of the others'. Returns the loss.
  double take_records(PooledVector<double> records) {
    const Index N = options().batch_size, shards = options().accumulation;
    const auto record = static_cast<std::size_t>(1 + 2 * N);
    agreement_->gather(records, record, shards);
    loss_by_time_ = {};
    PooledVector<double> losses;
    for (auto it = records.begin(); it != records.end();) {
      losses.push_back(*it++);
      PooledVector<Index> t;
      const Tensor<T> values({N});
      for (Index n = 0; n < N; ++n) {
        t.push_back(static_cast<Index>(*it++));
        values[n] = static_cast<T>(*it++);
        loss_by_time_.add(t.back(), state_.scheduler.timesteps(), static_cast<double>(values[n]));
      }
      if (std::isfinite(losses.back())) state_.timesteps.template update<T>(t, values);
    }
    distributed::tree_sum(shards, [&](Index i, Index j) {
      losses[static_cast<std::size_t>(i)] += losses[static_cast<std::size_t>(j)];
    });
    return losses[0];
  }

  /// Hides a share of the labels, so that the network learns to do without (Ho & Salimans 2022,
  /// algorithm 1).
  void hide_labels(PooledVector<Index>& labels, Index first) const {
    for (Index n = 0; n < std::ssize(labels); ++n)
      if (Rng(options().seed, Purpose::label, first + n).uniform() < options().label_dropout)
        labels[static_cast<std::size_t>(n)] = no_label;
  }

  /// Which tensor is the first that is not finite: of the weights, else of the gradients.
  std::string first_non_finite() const {
    const auto finite = [](const Tensor<T>& tensor) {
      return std::all_of(tensor.begin(), tensor.end(), [](T v) { return std::isfinite(v); });
    };
    for (const auto& [name, parameter] : state_.parameters)
      if (!finite(parameter.value())) return message(", first in the weight ", name);
    for (const auto& [name, parameter] : state_.parameters)
      if (!finite(parameter.grad())) return message(", first in the gradient of ", name);
    return ", no weight and no gradient is";  // but the squares of gradients overflow
  }

  TrainingState<T, Network> state_;
  LossByTime loss_by_time_;  ///< of the last update
  optim::LearningRate learning_rate_;
  Index steps_ = 1;       ///< of the fit() that runs
  bool running_ = false;  ///< fit()
  bool stopped_ = false;
  bool resumed_ = false;                     ///< and no fit() since
  Index failures_ = 0;                       ///< updates left out in a row
  Index failed_step_ = 0;                    ///< the last one that was
  std::shared_ptr<const RunSnapshot> good_;  ///< to go back to
  RunSaver saver_;
  distributed::Ranks ranks_;
  std::unique_ptr<Agreement> agreement_;  ///< of the ranks
  std::unique_ptr<distributed::GradientSum<T>> gradients_;
};

}  // namespace ddpm::DDPM_ABI
