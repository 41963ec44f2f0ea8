// The state of a training run as a file: everything that the next update depends on. The layout is
// safetensors; docs/files.md lists what is in it. A run state is a checkpoint too: under their own
// names it has the averaged weights, the rest is named "training...".
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "ddpm/io/safetensors_writer.hpp"
#include "ddpm/io/tensor_match.hpp"
#include "ddpm/nn/module.hpp"
#include "ddpm/train/config_text.hpp"

namespace ddpm::DDPM_ABI {

/// Where a run is.
struct RunPosition {
  Index steps = 0;              ///< updates made
  Index drawn = 0;              ///< images seen
  Index fit_start = 0;          ///< updates made before the fit() that runs
  double mean_loss = 0;         ///< of the last hundred updates or so, times its weight
  double mean_loss_weight = 0;  ///< rises from 0 to 1
  Index skipped = 0;            ///< updates left out, since they were not finite

  static constexpr std::array<std::string_view, 1> later_fields{"skipped"};

  /// Throws IoError if no run can be there.
  void validate(const std::string& source) const {
    const bool whole = fit_start >= 0 && steps >= fit_start && drawn >= 0 && skipped >= 0;
    const bool loss = std::isfinite(mean_loss) && mean_loss_weight >= 0 && mean_loss_weight <= 1;
    if (!whole || !loss)
      throw IoError(message(source, ": no place of a run: ", steps, " updates, ", skipped,
                            " left out, ", drawn, " images, begun at update ", fit_start,
                            ", mean loss ", mean_loss, " of weight ", mean_loss_weight));
  }

  static void fields(auto& self, auto&& visit) {
    visit("steps", self.steps);
    visit("drawn", self.drawn);
    visit("fit_start", self.fit_start);
    visit("mean_loss", self.mean_loss);
    visit("mean_loss_weight", self.mean_loss_weight);
    visit("skipped", self.skipped);
  }
};

namespace detail {

inline constexpr std::string_view training_prefix = "training.";

/// Network and scheduler in words, as checkpoints have them.
template <class Network, class Scheduler>
io::Metadata model_metadata(const Network& network, const Scheduler& scheduler) {
  io::Metadata metadata{{"format", "ddpm"}};
  metadata["version"] =
      message(DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".", DDPM_VERSION_PATCH);
  if constexpr (requires {
                  Network::network_name;
                  network.config;
                }) {
    metadata["network"] = Network::network_name;
    write_config(network.config, "network", metadata);
  }
  write_config(scheduler.config(), "scheduler", metadata);
  return metadata;
}

/// Throws NonFiniteError that names the tensor if it has a value that is not finite.
inline void check_finite(const io::StoredTensor& tensor) {
  const auto check = [&]<class T>(const T* values) {
    for (Index i = 0; i < tensor.shape.size(); ++i)
      if (!std::isfinite(values[i]))
        throw NonFiniteError(message("not saved: '", tensor.name, "' has the value ", values[i]));
  };
  if (tensor.value_bytes == sizeof(float))
    check(static_cast<const float*>(tensor.data));
  else
    check(static_cast<const double*>(tensor.data));
}

/// One line for each key in which two descriptions differ, of those that begin with `prefixes`.
inline std::string differences(const io::Metadata& stored, const io::Metadata& here,
                               std::initializer_list<std::string_view> prefixes) {
  const auto listed = [&](const std::string& key) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](std::string_view prefix) { return key.starts_with(prefix); });
  };
  io::Metadata keys = stored;
  keys.insert(here.begin(), here.end());
  const auto text = [](const io::Metadata& metadata, const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string("nothing") : found->second;
  };
  std::string lines;
  for (const auto& [key, value] : keys)
    if (listed(key) && text(stored, key) != text(here, key))
      lines +=
          message("\n  ", key, ": ", text(stored, key), " in the file, ", text(here, key), " here");
  return lines;
}

/// Copies the tensors of a file into those of the same names. Tensors of the file whose names begin
/// with `passed_over` are left out. Throws IoError that lists every missing, unknown and misshapen
/// tensor; nothing is then copied.
template <class T, class File>
void load_tensors(const File& file, const std::string& source,
                  const std::vector<io::NamedTensor<T>>& targets,
                  std::string_view passed_over = {}) {
  std::vector<io::WantedTensor> wanted;
  for (const auto& [name, target] : targets) wanted.push_back({name, target.shape()});
  io::check_tensors(file, source, "the network", wanted, passed_over);
  for (const auto& [name, target] : targets) file.read(name, target);
}

/// A number with at least so many digits, zeros before it.
inline std::string zero_padded(Index number, std::size_t digits) {
  std::string text = std::to_string(number);
  text.insert(0, text.size() < digits ? digits - text.size() : 0, '0');
  return text;
}

/// The updates made by the run state of that name; negative if it is another file's.
inline Index step_of(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  constexpr std::string_view before = "state-", after = ".safetensors";
  Index step = -1;
  if (!name.starts_with(before) || !name.ends_with(after)) return step;
  const char* end = name.data() + name.size() - after.size();
  const auto result = std::from_chars(name.data() + before.size(), end, step);
  return result.ec == std::errc() && result.ptr == end ? step : -1;
}

}  // namespace detail

/// All that a run state holds.
struct RunSnapshot {
  std::vector<io::StoredTensor> tensors;
  io::Metadata metadata;
  RunPosition position;
  Tensor<double> timesteps;  ///< what the sampler of timesteps has learned; among the tensors too

  /// Writes it. Throws IoError; NonFiniteError if a value is not finite. A file that stands at
  /// `path` is then untouched.
  void write(const std::filesystem::path& path) const {
    for (const auto& tensor : tensors) detail::check_finite(tensor);
    io::write_safetensors(path, tensors, metadata);
  }
};

/// Run states in a folder, "state-00000500.safetensors" after 500 updates, the newest last.
inline std::vector<std::filesystem::path> run_states(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> result;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const Index step = detail::step_of(it->path());
    auto later = result.end();
    while (later != result.begin() && detail::step_of(*std::prev(later)) > step) --later;
    if (step >= 0) result.insert(later, it->path());
  }
  return result;
}

/// The path of the run state after `steps` updates.
inline std::filesystem::path run_state_path(const std::filesystem::path& folder, Index steps) {
  return folder / ("state-" + detail::zero_padded(steps, 8) + ".safetensors");
}

}  // namespace ddpm::DDPM_ABI
