// Checkpoints: a network's weights, and in the metadata all that sampling needs to know, its
// configuration and the scheduler's. The layout is safetensors.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <iostream>

#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/scheduler.hpp"
#include "ddpm/io/safetensors.hpp"
#include "ddpm/nn/module.hpp"
#include "ddpm/train/run_state.hpp"

namespace ddpm::DDPM_ABI {

/// Writes the weights of `network` and both configurations. An older file at `path` stays whole
/// until the new one is. Throws IoError; NonFiniteError if a weight is not finite.
template <class T, class Network>
void save_checkpoint(const std::filesystem::path& path, const Network& network,
                     const Scheduler<T>& scheduler) {
  std::vector<io::StoredTensor> tensors;
  for (const auto& [name, parameter] : nn::named_parameters<T>(network)) {
    tensors.emplace_back(name, parameter.value());
    detail::check_finite(tensors.back());
  }
  io::write_safetensors(path, tensors, detail::model_metadata(network, scheduler));
}

/// Copies the file's tensors into the parameters of the same names; what a run state has beside
/// them is passed over. Throws IoError that lists every missing, unknown and misshapen tensor; the
/// network is then untouched.
template <class T, class Network>
void load_weights(const io::Safetensors& file, const std::string& source, const Network& network) {
  std::vector<io::NamedTensor<T>> targets;
  for (const auto& [name, parameter] : nn::named_parameters<T>(network))
    targets.push_back({name, parameter.value()});
  detail::load_tensors(file, source, targets, detail::training_prefix);
}

/// A network and the scheduler it was trained with.
template <class T, class Network>
struct Checkpoint {
  Network network;
  Scheduler<T> scheduler;
};

/// The newest run state in a folder that can be read, none if there is none. A line on standard
/// error tells of each that is damaged.
inline std::optional<std::filesystem::path> latest_run_state(const std::filesystem::path& folder) {
  // A run that goes on may remove a state between its listing and its reading: then look again.
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto states = run_states(folder);
    for (; !states.empty(); states.pop_back()) {
      try {
        io::Safetensors::read(states.back());
        return states.back();
      } catch (const IoError& error) {
        if (!std::filesystem::exists(states.back())) break;
        std::cerr << "warning: passed over " << error.what() << '\n';
      }
    }
    if (states.empty()) break;
  }
  return std::nullopt;
}

/// Which network a checkpoint holds: Network::network_name. Throws IoError if it is none of ours.
inline std::string checkpoint_network(const io::Safetensors& file, const std::string& source) {
  const auto found = file.metadata().find("network");
  if (found == file.metadata().end())
    throw IoError(source + ": no ddpm checkpoint, its metadata names no network");
  return found->second;
}

/// Builds the network and scheduler of a checkpoint; `source` stands in errors. Throws IoError if
/// it holds another kind of network, or its tensors do not fit its configuration.
template <class T, class Network>
Checkpoint<T, Network> load_checkpoint(const io::Safetensors& file, const std::string& source) {
  const std::string kind = checkpoint_network(file, source);
  if (kind != Network::network_name)
    throw IoError(message(source, ": holds a ", kind, ", expected a ", Network::network_name));
  const auto config = read_config<typename Network::Config>(file.metadata(), "network", source);
  const auto scheduler = read_config<SchedulerConfig>(file.metadata(), "scheduler", source);
  io::check_config_size(config, file, source);
  try {
    Checkpoint<T, Network> result{Network(config, Rng(0)), Scheduler<T>(scheduler)};
    load_weights<T>(file, source, result.network);
    return result;
  } catch (const PreconditionError& error) {
    throw IoError(message(source, ": ", error.what()));
  }
}

/// The same from a file. Throws IoError also if it is damaged.
template <class T, class Network>
Checkpoint<T, Network> load_checkpoint(const std::filesystem::path& path) {
  return load_checkpoint<T, Network>(io::Safetensors::read(path), path.string());
}

}  // namespace ddpm::DDPM_ABI
