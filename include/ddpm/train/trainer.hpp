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
#include "ddpm/data/digest.hpp"
#include "ddpm/data/loader.hpp"
#include "ddpm/distributed/rank_gradient_sum.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/optim/clip.hpp"
#include "ddpm/optim/ema.hpp"
#include "ddpm/train/agreement.hpp"
#include "ddpm/train/memory_need.hpp"
#include "ddpm/train/run_state.hpp"
#include "ddpm/train/saver.hpp"
#include "ddpm/train/trainable.hpp"
#include "ddpm/train/trainer_options.hpp"
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
      : options_((options.validate(), options)),
        network_(network),
        ema_network_(nn::clone<T>(network)),
        scheduler_(scheduler),
        timesteps_(options.timestep_sampling, scheduler.timesteps()),
        parameters_(nn::named_parameters<T>(network)),
        handles_(nn::parameters<T>(network)),
        adam_(handles_, options.adam),
        ema_(handles_, nn::parameters<T>(ema_network_), {options.ema_decay, options.ema_warmup}),
        learning_rate_{options.learning_rate, options.warmup_steps, options.decay, options.steps},
        saver_(options.save),
        agreement_(std::make_unique<Agreement>()),
        gradients_(std::make_unique<distributed::GradientSum<T>>(handles_.size())) {
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
    require(ranks <= options_.accumulation, "Trainer::distribute: ", ranks,
            " ranks share accumulation = ", options_.accumulation, " batches of ",
            options_.batch_size, " images; expected at least one for each");
    const distributed::Ranks all(communicator);
    auto gradients = std::make_unique<distributed::GradientSum<T>>(handles_.size());
    auto agreement = std::make_unique<Agreement>();
    if (ranks > 1) {
      std::vector<Shape> shapes;
      for (const auto& handle : handles_) shapes.push_back(handle.shape());
      gradients = std::make_unique<distributed::RankGradientSum<T>>(std::move(shapes), all);
      agreement = std::make_unique<RankAgreement>(
          all, message(name_of(options_.non_finite), " ", options_.most_skipped));
    }
    ranks_ = all;  // nothing can fail from here on
    gradients_ = std::move(gradients);
    agreement_ = std::move(agreement);
    if (leads()) return;
    options_.save.folder.clear();
    saver_.turn_off();
    options_.progress = Progress::silent;
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
  const Network& ema_model() const { return ema_network_; }
  const Network& model() const { return network_; }
  /// Updates made.
  Index steps() const { return adam_.steps(); }
  /// Updates left out, since they were not finite.
  Index skipped() const { return position_.skipped; }
  /// Mean loss of the last hundred updates or so; 0 before the first.
  double mean_loss() const {
    return position_.mean_loss_weight > 0 ? position_.mean_loss / position_.mean_loss_weight : 0;
  }

  /// When the gradients of the last update went between ranks.
  const distributed::CommunicationTimes& communication() const { return gradients_->times(); }

  /// Memory that fit() takes at its peak on images (H, W, C), found without training: within 15 %
  /// of what the process then holds for it, as far as the steps and saving go; samples drawn
  /// meanwhile, and the data, come on top. Throws PreconditionError if the images do not fit the
  /// network.
  MemoryNeed memory_need(const Shape& image) {
    check_shape(image);
    take_shape(image);
    MemoryNeed need;
    need.model = model_bytes();
    const int copies =
        (options_.save.folder.empty() ? 0 : 1) + (options_.non_finite == NonFinite::reload ? 1 : 0);
    need.saving = need.model * static_cast<std::size_t>(copies);
    const TimestepSampler before = timesteps_;
    memory::trim();
    const std::size_t touched = memory::statistics().bytes_touched;
    std::size_t room = 0;  // of the kernels; until it has grown, other memory is taken instead
    do {
      adam_.zero_grad();
      memory::trim();
      room = scratch_bytes();
      dry_step(image);
    } while (scratch_bytes() > room);
    need.step = memory::statistics().bytes_touched - touched + waiting_sums() * need.model / 4;
    adam_.zero_grad();
    memory::trim();
    timesteps_ = before;
    return need;
  }

  /// Writes a run state: all that the next update depends on. An older file at `path` stays whole
  /// until the new one is. Throws IoError; NonFiniteError if a value is not finite.
  void save(const std::filesystem::path& path) const { snapshot(false)->write(path); }

  /// Takes over a run state that a trainer with the same network, scheduler and options wrote;
  /// only options.steps may be others, and what is no part of the run's description. The next
  /// fit() goes on where that run was. Needs io/safetensors.hpp.
  /// Throws IoError if the file is damaged or no run state, or lists every difference; the trainer
  /// is then untouched.
  template <class File = io::Safetensors>
  void resume(const std::filesystem::path& path) {
    const std::string source = path.string();
    const File file = File::read(path);
    io::Metadata stored = file.metadata();
    if (!stored.contains("run.steps"))
      throw IoError(message(source,
                            ": no run state; weights without the rest of a run can be "
                            "sampled, but training cannot go on from them"));
    io::Metadata complete;  // with the options that an older file has not
    const TrainerOptions before{.precision = Precision::float32};
    write_config(read_config(stored, "trainer", source, before), "trainer", complete);
    stored.insert(complete.begin(), complete.end());
    if constexpr (requires { Network::network_name; })
      if (stored["network"] == Network::network_name)
        add_later_fields<typename Network::Config>("network", stored);
    io::Metadata here = describe();
    // May be others; the size of the images is the data's.
    for (const char* key : {"trainer.steps", "network.image_height", "network.image_width"})
      if (stored.contains(key) && here.contains(key)) here[key] = stored.at(key);
    const std::string problems =
        detail::differences(stored, here, {"network", "scheduler.", "trainer.", "type"});
    if (!problems.empty())
      throw IoError(message(source, " is the state of another run:", problems));
    const auto position = read_config<RunPosition>(stored, "run", source);
    const auto digest = read_config<data::Digest>(stored, "data", source);
    position.validate(source);
    const Shape image{digest.height, digest.width, digest.channels};
    if (digest.images < 0 || (digest.images > 0 && (digest.height < 1 || digest.width < 1 ||
                                                    image[2] != network_.sample_shape(1)[3])))
      throw IoError(message(source, ": its data are ", digest.images, " images of ", image));
    load(file, source);
    adam_.resume_at(position.steps);
    ema_.resume_at(position.steps);
    position_ = position;
    digest_ = digest;
    resumed_ = true;
    if (digest.images > 0) take_shape(image);
  }

 private:
  /// fit(), whose errors reach the other ranks.
  template <class D>
  void run(const D& data, const OnStep& on_step) {
    const detail::Scoped running(running_, true);
    const distributed::Share own = own_shards();
    data::Loader<T> loader(data, {.batch_size = options_.batch_size,
                                  .seed = options_.seed,
                                  .horizontal_flip = options_.horizontal_flip,
                                  .drawn = position_.drawn,
                                  .batches = options_.accumulation,
                                  .first_batch = own.count > 0 ? own.first : 0,
                                  .own_batches = std::max<Index>(own.count, 1)});
    check_classes(data);
    check_shape(data.image_shape());
    take_digest(data::digest<T>(data));
    if (options_.memory_limit > 0) check_memory(data.image_shape());
    take_shape(data.image_shape());
    saver_.begin(steps(), resumed_, model_bytes());
    if (!resumed_) position_.fit_start = steps();
    if (ranks_.size() > 1) agreement_->check_run(*snapshot(false));
    resumed_ = stopped_ = false;
    failures_ = failed_step_ = 0;
    if (options_.non_finite == NonFinite::reload) good_ = snapshot(true);
    learning_rate_.start = position_.fit_start;
    set_steps(options_.steps);
    ProgressDisplay progress("training", steps_, options_.progress);
    while (steps() - position_.fit_start < steps_ && !stopped_) {
      const auto result = update(loader);
      position_.drawn += options_.batch_size * options_.accumulation;
      if (!result) continue;
      const Index made = steps() - position_.fit_start;
      progress.set_steps(steps_);
      progress.update(made, options_.batch_size * options_.accumulation, result->loss);
      if (on_step) on_step(*this, *result);
      const Decision next = agreement_->decide({steps_, stopped_, saver_.due(steps())});
      set_steps(next.steps);
      if (next.stop) stopped_ = true;
      if (made < steps_ && !stopped_ && next.save) save_between();
    }
    if (saver_.active()) saver_.start(snapshot(false), steps());
    saver_.finish();
    good_.reset();
  }

  /// Of weights, average and Adam's two moments.
  std::size_t model_bytes() const {
    std::size_t values = 0;
    for (const auto& handle : handles_) values += static_cast<std::size_t>(handle.value().size());
    return 4 * sizeof(T) * values;
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
    const Index N = options_.batch_size, shards = std::min<Index>(own_shards().count, 2);
    gradients_->begin(shards + 1, shards + 1);  // so that nothing is sent
    for (Index i = 0; i < shards; ++i) {
      data::Batch<T> batch{Tensor<T>({N, image[0], image[1], image[2]}), {}};
      if (network_.classes() > 0) batch.labels.assign(static_cast<std::size_t>(N), 0);
      add_shard(batch, 0);
    }
    gradients_->begin(1, 1);
  }

  bool leads() const { return ranks_.rank() == 0; }

  distributed::Share own_shards() const {
    return distributed::shards_of(options_.accumulation, ranks_.rank(), ranks_.size());
  }

  /// Throws PreconditionError if training needs more memory than allowed.
  void check_memory(const Shape& image) {
    const std::size_t held = process_bytes(), limit = options_.memory_limit;
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

  RunPosition position() const {
    RunPosition result = position_;
    result.steps = steps();
    return result;
  }

  /// The run in words, with its place.
  io::Metadata describe() const {
    io::Metadata metadata = detail::model_metadata(network_, scheduler_);
    write_config(options_, "trainer", metadata);
    write_config(position(), "run", metadata);
    metadata["type"] = sizeof(T) == 4 ? "F32" : "F64";
    write_config(digest_, "data", metadata);
    return metadata;
  }

  /// Calls f(name in a file, handle) for every tensor of the run.
  void for_each_tensor(FunctionRef<void(const std::string&, const Tensor<T>&)> f) const {
    for (const auto& [name, parameter] : nn::named_parameters<T>(ema_network_))
      f(name, parameter.value());
    const auto tell = [&](const char* kind, std::size_t i, const Tensor<T>& tensor) {
      f(message(detail::training_prefix, kind, parameters_[i].name), tensor);
    };
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      tell("weights.", i, parameters_[i].parameter.value());
      tell("adam.first.", i, adam_.first_moments()[i]);
      tell("adam.second.", i, adam_.second_moments()[i]);
    }
  }

  /// What a run state holds, as it is now; not `copy`: as it is when it is written.
  std::shared_ptr<const RunSnapshot> snapshot(bool copy) const {
    const auto result =
        std::make_shared<RunSnapshot>(RunSnapshot{{}, describe(), position(), timesteps_.memory()});
    for_each_tensor([&](const std::string& name, const Tensor<T>& tensor) {
      result->tensors.push_back({name, copy ? tensor.clone() : tensor});
    });
    result->tensors.push_back({timesteps_name, result->timesteps});
    return result;
  }

  /// Writes a run state while training goes on; where there is no memory for a copy of it, training
  /// waits.
  void save_between() {
    if (!saver_.active()) {  // another rank writes it
      if (options_.non_finite == NonFinite::reload) good_ = snapshot(true);
      return;
    }
    try {
      const auto now = snapshot(true);
      if (options_.non_finite == NonFinite::reload) good_ = now;
      saver_.start(now, steps());
    } catch (const std::bad_alloc&) {
      // All ranks must be able to go back to the same state.
      if (options_.non_finite == NonFinite::reload && ranks_.size() > 1) throw;
      saver_.start(snapshot(false), steps());
      saver_.finish(false);
    }
  }

  /// Goes back to a state of this run, but for the images drawn and the updates left out.
  void restore(const RunSnapshot& state) {
    auto stored = state.tensors.begin();
    for_each_tensor([&](const std::string&, const Tensor<T>& tensor) {
      std::copy_n(static_cast<const T*>((stored++)->data), tensor.size(), tensor.data());
    });
    timesteps_.restore(state.timesteps);
    const Index skipped = position_.skipped, drawn = position_.drawn;
    position_ = state.position;
    position_.skipped = skipped;
    position_.drawn = drawn;
    adam_.resume_at(position_.steps);
    ema_.resume_at(position_.steps);
  }

  /// Takes the tensors of a run state. Throws IoError if they do not fit; nothing is changed then.
  template <class File>
  void load(const File& file, const std::string& source) {
    TimestepSampler timesteps(options_.timestep_sampling, scheduler_.timesteps());
    const Tensor<double> memory = timesteps.memory();
    if (!file.contains(timesteps_name) || file.shape(timesteps_name) != memory.shape())
      throw IoError(message(source, ": no '", timesteps_name, "' ", memory.shape()));
    try {
      timesteps.restore(file.template tensor<double>(timesteps_name));
    } catch (const PreconditionError& error) {
      throw IoError(message(source, ": ", error.what()));
    }
    std::vector<io::NamedTensor<T>> targets;
    for_each_tensor([&](const std::string& name, const Tensor<T>& tensor) {
      targets.push_back({name, tensor});
    });
    detail::load_tensors(file, source, targets, timesteps_name);
    timesteps_ = std::move(timesteps);
  }

  /// The data of this fit(). Throws PreconditionError if a resumed run had others.
  void take_digest(const data::Digest& digest) {
    const bool known = resumed_ && digest_.images > 0;
    require(!known || digest == digest_, "Trainer::fit: the resumed run had other data: ", digest_,
            "; these are ", digest);
    digest_ = digest;
  }

  /// Throws PreconditionError unless images (H, W, C) fit the network.
  void check_shape(const Shape& image) const {
    const Index channels = network_.sample_shape(1)[3];
    require(image.rank() == 3 && image[2] == channels, "Trainer: images are ", image,
            ", the network expects (H, W, ", channels, ")");
  }

  /// Tells the network the size of its images.
  void take_shape(const Shape& image) {
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

  /// An update; none if it was left out, since it was not finite.
  std::optional<TrainingStep> update(data::Loader<T>& loader) {
    adam_.zero_grad();
    const distributed::Share own = own_shards();
    gradients_->begin(options_.accumulation, own.count);
    PooledVector<double> records;
    for (Index i = 0; i < own.count; ++i) {
      const Index first = loader.drawn();
      data::Batch<T> batch = loader.next();
      check_range(batch.images);
      const auto record = add_shard(batch, first);
      records.append(record.begin(), record.end());
    }
    gradients_->finish([&](std::size_t i, const Tensor<T>& sum) { handles_[i].set_grad(sum); });
    const double loss = take_records(std::move(records));
    const Index step = adam_.steps();
    const double norm = std::isfinite(loss) ? optim::grad_norm(handles_) : loss;
    agreement_->check_norm(norm);
    if (!std::isfinite(norm)) {
      leave_out(loss);
      return std::nullopt;
    }
    if (step + 1 >= failed_step_) failures_ = 0;
    const double rate = learning_rate_.at(step);
    // Clipping, Adam and the average in one pass over memory.
    adam_.step(rate, optim::clip_factor(norm, options_.max_grad_norm), ema_.next_update());
    position_.mean_loss = 0.99 * position_.mean_loss + 0.01 * loss;
    position_.mean_loss_weight = 0.99 * position_.mean_loss_weight + 0.01;
    return TrainingStep{step + 1, loss, norm, rate, loss_by_time_.means()};
  }

  /// Does what options.non_finite says with an update that is not finite.
  void leave_out(double loss) {
    const Index step = steps() + 1;
    const std::string problem = message(
        "training: the ", std::isfinite(loss) ? "gradient" : "loss", " of step ", step, " is ",
        std::isfinite(loss) ? std::string("not finite") : message(loss), first_non_finite());
    if (options_.non_finite == NonFinite::fail) throw NonFiniteError(problem);
    failed_step_ = std::max(failed_step_, step);
    if (++failures_ > options_.most_skipped)
      throw NonFiniteError(
          message(problem, ", after ", options_.most_skipped, " that were left out"));
    ++position_.skipped;
    const bool reload = options_.non_finite == NonFinite::reload;
    if (reload) restore(*good_);
    if (leads())
      std::cerr << "\nwarning: " << problem << "; it is left out"
                << (reload ? message(", back to step ", steps()) : "") << '\n';
  }

  /// Adds the gradients of one shard, and returns what is to be known of it: its share of the loss,
  /// then the timestep and the loss of each image. `first` is the number of its first image.
  PooledVector<double> add_shard(data::Batch<T>& batch, Index first) {
    const PrecisionScope scope(options_.precision);
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
    PooledVector<double> record{static_cast<double>(loss.value()[0])};
    for (Index n = 0; n < N; ++n) {
      record.push_back(static_cast<double>(t[static_cast<std::size_t>(n)]));
      record.push_back(static_cast<double>(losses.value()[n]));
    }
    loss.backward([this](const Variable<T>& parameter) {
      const auto found = std::find_if(
          handles_.begin(), handles_.end(),
          [&](const Variable<T>& handle) { return handle.identity() == parameter.identity(); });
      if (found == handles_.end()) return;
      gradients_->add(static_cast<std::size_t>(found - handles_.begin()), parameter.grad());
      parameter.zero_grad();
    });
    for (std::size_t i = 0; i < handles_.size(); ++i)  // those that an op has kept from the end
      if (const Tensor<T> grad = handles_[i].grad(); !grad.empty()) {
        gradients_->add(i, grad);
        handles_[i].zero_grad();
      }
    gradients_->end_shard();
    return record;
  }

  /// Takes what add_shard() tells of this rank's shards, and of the others'. Returns the loss.
  double take_records(PooledVector<double> records) {
    const Index N = options_.batch_size, shards = options_.accumulation;
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
        loss_by_time_.add(t.back(), scheduler_.timesteps(), static_cast<double>(values[n]));
      }
      if (std::isfinite(losses.back())) timesteps_.template update<T>(t, values);
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
      if (Rng(options_.seed, Purpose::label, first + n).uniform() < options_.label_dropout)
        labels[static_cast<std::size_t>(n)] = no_label;
  }

  /// Which tensor is the first that is not finite: of the weights, else of the gradients.
  std::string first_non_finite() const {
    const auto finite = [](const Tensor<T>& tensor) {
      return std::all_of(tensor.begin(), tensor.end(), [](T v) { return std::isfinite(v); });
    };
    for (const auto& [name, parameter] : parameters_)
      if (!finite(parameter.value())) return message(", first in the weight ", name);
    for (const auto& [name, parameter] : parameters_)
      if (!finite(parameter.grad())) return message(", first in the gradient of ", name);
    return ", no weight and no gradient is";  // but the squares of gradients overflow
  }

  static constexpr const char* timesteps_name = "training.timesteps";

  TrainerOptions options_;
  Network network_, ema_network_;
  Scheduler<T> scheduler_;
  TimestepSampler timesteps_;
  LossByTime loss_by_time_;  ///< of the last update
  std::vector<nn::NamedParameter<T>> parameters_;
  std::vector<Variable<T>> handles_;
  optim::Adam<T> adam_;
  optim::Ema<T> ema_;
  optim::LearningRate learning_rate_;
  RunPosition position_;  ///< but for the updates made, which are Adam's
  data::Digest digest_;   ///< of the last data
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
