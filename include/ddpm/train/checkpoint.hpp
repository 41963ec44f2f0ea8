// Checkpoints: a network's weights, and in the metadata all that sampling needs to know, its
// configuration and the scheduler's. The layout is safetensors.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/random.hpp"
#include "ddpm/diffusion/scheduler.hpp"
#include "ddpm/io/safetensors.hpp"
#include "ddpm/nn/module.hpp"
#include "ddpm/train/config_text.hpp"

namespace ddpm::DDPM_ABI {

/// Writes the weights of `network` and both configurations. An older file at `path` stays whole
/// until the new one is. Throws IoError.
template <class T, class Network>
void save_checkpoint(const std::filesystem::path& path, const Network& network,
                     const Scheduler<T>& scheduler) {
  std::vector<io::NamedTensor<T>> tensors;
  for (const auto& [name, parameter] : nn::named_parameters<T>(network))
    tensors.push_back({name, parameter.value()});
  io::Metadata metadata{{"format", "ddpm"}, {"network", Network::network_name}};
  metadata["version"] =
      message(DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".", DDPM_VERSION_PATCH);
  write_config(network.config, "network", metadata);
  write_config(scheduler.config(), "scheduler", metadata);
  io::write_safetensors(path, tensors, metadata);
}

/// Copies the file's tensors into the parameters of the same names.
/// Throws IoError that lists every missing, unknown and misshapen tensor; the network is then
/// untouched.
template <class T, class Network>
void load_weights(const io::Safetensors& file, const std::string& source, const Network& network) {
  const auto parameters = nn::named_parameters<T>(network);
  std::string problems;
  std::map<std::string, bool> known;
  for (const auto& [name, parameter] : parameters) {
    known[name] = true;
    if (!file.contains(name))
      problems += message("\n  missing: ", name, " ", parameter.shape());
    else if (file.shape(name) != parameter.shape())
      problems +=
          message("\n  shape: ", name, " is ", file.shape(name), ", expected ", parameter.shape());
  }
  for (const std::string& name : file.names())
    if (!known.contains(name)) problems += message("\n  unknown: ", name);
  if (!problems.empty()) throw IoError(message(source, " does not fit the network:", problems));
  for (const auto& [name, parameter] : parameters) {
    const Tensor<T> stored = file.tensor<T>(name);
    std::copy(stored.begin(), stored.end(), parameter.value().begin());
  }
}

/// A network and the scheduler it was trained with.
template <class T, class Network>
struct Checkpoint {
  Network network;
  Scheduler<T> scheduler;
};

/// Which network a checkpoint holds: Network::network_name. Throws IoError if it is none of ours.
inline std::string checkpoint_network(const io::Safetensors& file, const std::string& source) {
  const auto found = file.metadata().find("network");
  if (found == file.metadata().end())
    throw IoError(source + ": no ddpm checkpoint, its metadata names no network");
  return found->second;
}

/// Builds the network and scheduler of a checkpoint. Throws IoError if the file is damaged, holds
/// another kind of network, or its tensors do not fit its configuration.
template <class T, class Network>
Checkpoint<T, Network> load_checkpoint(const std::filesystem::path& path) {
  const std::string source = path.string();
  const io::Safetensors file = io::Safetensors::read(path);
  const std::string kind = checkpoint_network(file, source);
  if (kind != Network::network_name)
    throw IoError(message(source, ": holds a ", kind, ", expected a ", Network::network_name));
  const auto config = read_config<typename Network::Config>(file.metadata(), "network", source);
  const auto scheduler = read_config<SchedulerConfig>(file.metadata(), "scheduler", source);
  try {
    Checkpoint<T, Network> result{Network(config, Rng(0)), Scheduler<T>(scheduler)};
    load_weights<T>(file, source, result.network);
    return result;
  } catch (const PreconditionError& error) {
    throw IoError(message(source, ": ", error.what()));
  }
}

}  // namespace ddpm::DDPM_ABI
