// What the updates of a training change, and what tells one run from another: all that a run state
// holds (train/run_state.hpp), and how it is taken from there.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/core/function_ref.hpp"
#include "ddpm/data/digest.hpp"
#include "ddpm/diffusion/scheduler.hpp"
#include "ddpm/diffusion/timestep_sampler.hpp"
#include "ddpm/optim/adam.hpp"
#include "ddpm/optim/ema.hpp"
#include "ddpm/train/run_state.hpp"
#include "ddpm/train/trainable.hpp"
#include "ddpm/train/trainer_options.hpp"

namespace ddpm::DDPM_ABI {

/// A training between two updates.
template <class T, TrainableNetwork<T> Network>
struct TrainingState {
  TrainerOptions options;
  Network network, ema_network;
  Scheduler<T> scheduler;
  TimestepSampler timesteps;
  std::vector<nn::NamedParameter<T>> parameters;
  std::vector<Variable<T>> handles;  ///< the same, without names
  optim::Adam<T> adam;
  optim::Ema<T> ema;
  RunPosition position;  ///< but for the updates made, which are Adam's
  data::Digest digest;   ///< of the last data

  /// The network is shared, not copied.
  TrainingState(const Network& trained, const Scheduler<T>& process, const TrainerOptions& settings)
      : options(settings),
        network(trained),
        ema_network(nn::clone<T>(trained)),
        scheduler(process),
        timesteps(settings.timestep_sampling, process.timesteps()),
        parameters(nn::named_parameters<T>(trained)),
        handles(nn::parameters<T>(trained)),
        adam(handles, settings.adam),
        ema(handles, nn::parameters<T>(ema_network), {settings.ema_decay, settings.ema_warmup}) {}

  /// Of weights, average and Adam's two moments.
  std::size_t bytes() const {
    std::size_t values = 0;
    for (const auto& handle : handles) values += static_cast<std::size_t>(handle.value().size());
    return 4 * sizeof(T) * values;
  }

  /// Tells the network the size of its images (H, W, C).
  void take_shape(const Shape& image) {
    if constexpr (requires { network.set_image_size(image[0], image[1]); })
      for (Network* each : {&network, &ema_network}) each->set_image_size(image[0], image[1]);
  }

  /// What a run state holds, as it is now; not `copy`: as it is when it is written.
  std::shared_ptr<const RunSnapshot> snapshot(bool copy) const {
    const auto result =
        std::make_shared<RunSnapshot>(RunSnapshot{{}, describe(), place(), timesteps.memory()});
    for_each_tensor([&](const std::string& name, const Tensor<T>& tensor) {
      result->tensors.push_back({name, copy ? tensor.clone() : tensor});
    });
    result->tensors.push_back({timesteps_name, result->timesteps});
    return result;
  }

  /// Goes back to a state of this run, but for the images drawn and the updates left out.
  void restore(const RunSnapshot& state) {
    auto stored = state.tensors.begin();
    for_each_tensor([&](const std::string&, const Tensor<T>& tensor) {
      std::copy_n(static_cast<const T*>((stored++)->data), tensor.size(), tensor.data());
    });
    timesteps.restore(state.timesteps);
    const Index skipped = position.skipped, drawn = position.drawn;
    go_to(state.position);
    position.skipped = skipped;
    position.drawn = drawn;
  }

  /// Takes over the run state in a file, see Trainer::resume(). Throws IoError if it is damaged, no
  /// run state, or of another run; nothing is changed then.
  template <class File>
  void read(const std::filesystem::path& path) {
    const std::string source = path.string();
    const File file = File::read(path);
    io::Metadata stored = file.metadata();
    if (!stored.contains("run.steps"))
      throw IoError(message(source,
                            ": no run state; weights without the rest of a run can be "
                            "sampled, but training cannot go on from them"));
    check_same_run(stored, source);
    const auto stored_position = read_config<RunPosition>(stored, "run", source);
    const auto stored_digest = read_config<data::Digest>(stored, "data", source);
    stored_position.validate(source);
    const Shape image{stored_digest.height, stored_digest.width, stored_digest.channels};
    const bool any = stored_digest.images > 0;
    if (stored_digest.images < 0 ||
        (any && (image[0] < 1 || image[1] < 1 || image[2] != network.sample_shape(1)[3])))
      throw IoError(message(source, ": its data are ", stored_digest.images, " images of ", image));
    load_tensors(file, source);
    go_to(stored_position);
    digest = stored_digest;
    if (any) take_shape(image);
  }

 private:
  static constexpr const char* timesteps_name = "training.timesteps";

  RunPosition place() const {
    RunPosition result = position;
    result.steps = adam.steps();
    return result;
  }

  void go_to(const RunPosition& there) {
    position = there;
    adam.resume_at(there.steps);
    ema.resume_at(there.steps);
  }

  /// The run in words, with its place.
  io::Metadata describe() const {
    io::Metadata metadata = detail::model_metadata(network, scheduler);
    write_config(options, "trainer", metadata);
    write_config(place(), "run", metadata);
    metadata["type"] = sizeof(T) == 4 ? "F32" : "F64";
    write_config(digest, "data", metadata);
    return metadata;
  }

  /// Throws IoError with every difference from the run that a file describes.
  void check_same_run(io::Metadata stored, const std::string& source) const {
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
  }

  /// Calls f(name in a file, handle) for every tensor of the run.
  void for_each_tensor(FunctionRef<void(const std::string&, const Tensor<T>&)> f) const {
    for (const auto& [name, parameter] : nn::named_parameters<T>(ema_network))
      f(name, parameter.value());
    const auto tell = [&](const char* kind, std::size_t i, const Tensor<T>& tensor) {
      f(message(detail::training_prefix, kind, parameters[i].name), tensor);
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      tell("weights.", i, parameters[i].parameter.value());
      tell("adam.first.", i, adam.first_moments()[i]);
      tell("adam.second.", i, adam.second_moments()[i]);
    }
  }

  /// Takes the tensors of a run state. Throws IoError if they do not fit; nothing is changed then.
  template <class File>
  void load_tensors(const File& file, const std::string& source) {
    TimestepSampler stored(options.timestep_sampling, scheduler.timesteps());
    const Tensor<double> memory = stored.memory();
    if (!file.contains(timesteps_name) || file.shape(timesteps_name) != memory.shape())
      throw IoError(message(source, ": no '", timesteps_name, "' ", memory.shape()));
    try {
      stored.restore(file.template tensor<double>(timesteps_name));
    } catch (const PreconditionError& error) {
      throw IoError(message(source, ": ", error.what()));
    }
    std::vector<io::NamedTensor<T>> targets;
    for_each_tensor([&](const std::string& name, const Tensor<T>& tensor) {
      targets.push_back({name, tensor});
    });
    detail::load_tensors(file, source, targets, timesteps_name);
    timesteps = std::move(stored);
  }
};

}  // namespace ddpm::DDPM_ABI
