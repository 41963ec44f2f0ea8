// Networks of diffusers, in and out: a folder of a UNet2DModel, or of a DDPMPipeline or
// DDIMPipeline with its scheduler.
//
//   model_index.json                        of a pipeline
//   unet/config.json                        or config.json
//   unet/diffusion_pytorch_model.safetensors
//   scheduler/scheduler_config.json         or scheduler_config.json
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>

#include "ddpm/interop/diffusers_scheduler.hpp"
#include "ddpm/interop/diffusers_unet.hpp"
#include "ddpm/interop/diffusers_weights.hpp"
#include "ddpm/io/safetensors.hpp"
#include "ddpm/io/tensor_match.hpp"

namespace ddpm::DDPM_ABI::interop {

template <class T>
struct DiffusersModel {
  UNet<T> network;
  Scheduler<T> scheduler;
  SampleOptions sampling;  ///< sampler, steps and spacing of the pipeline
};

namespace detail {

inline constexpr const char* weights_name = "diffusion_pytorch_model";

/// In the metadata of weights that we wrote: the last row of the classes' table is "no class".
inline constexpr const char* no_label_key = "ddpm.no_label_row";

/// True if something has that name, and be it a link that leads nowhere: reading it tells why.
inline bool stands(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

/// folder/part/name, or folder/name where there is no such file.
inline std::filesystem::path file_of(const std::filesystem::path& folder, const char* part,
                                     const std::string& name) {
  const auto own = folder / part / name;
  return stands(own) ? own : folder / name;
}

/// What a model_index.json tells: its class, and that of the scheduler; empty without such a file.
struct Pipeline {
  std::string pipeline, scheduler;
};

/// Throws IoError if it is that of something else.
inline Pipeline read_pipeline(const std::filesystem::path& folder) {
  const auto path = folder / "model_index.json";
  if (!stands(path)) return {};
  JsonFields fields(path);
  fields.only("_class_name", {"DDPMPipeline", "DDIMPipeline"});
  fields.only("unet", {{"diffusers", "UNet2DModel"}});
  fields.only("scheduler", {{"diffusers", "DDPMScheduler"}, {"diffusers", "DDIMScheduler"}});
  const auto scheduler = fields.texts("scheduler");
  const Pipeline result{fields.text("_class_name"), scheduler.empty() ? "" : scheduler.back()};
  fields.texts("unet");
  fields.finish();
  return result;
}

/// How the pipeline's call draws if it is told nothing. Without a pipeline the scheduler tells.
inline void choose_sampler(const Pipeline& pipeline, DiffusersScheduler& process) {
  const bool deterministic =
      pipeline.pipeline == "DDIMPipeline" || process.sampling.sampler == Sampler::ddim_unclipped;
  const bool few = pipeline.pipeline.empty() ? deterministic : pipeline.pipeline == "DDIMPipeline";
  process.sampling.sampler = deterministic ? Sampler::ddim_unclipped : Sampler::ancestral;
  process.sampling.steps = std::min<Index>(few ? 50 : 1000, process.scheduler.timesteps);
}

/// Throws IoError if a file of the folder is that of something else, which would be lost.
inline void check_replaceable(const std::filesystem::path& folder) {
  for (const auto& [name, ours] :
       {std::pair{"model_index.json", "DDPMPipeline"}, {"unet/config.json", "UNet2DModel"}}) {
    const auto path = folder / name;
    if (!stands(path)) continue;
    const std::string theirs = JsonFields(path).text("_class_name", "");
    if (theirs != ours)
      throw IoError(message(path.string(), ": stands there and is of ",
                            theirs.empty() ? "something else" : clipped(theirs),
                            "; give another folder"));
  }
}

/// The file of the weights. Throws IoError if there is none that can be read.
inline std::filesystem::path weights_file(const std::filesystem::path& folder) {
  for (const char* ending : {".safetensors", ".fp16.safetensors"})
    if (const auto path = file_of(folder, "unet", std::string(weights_name) + ending); stands(path))
      return path;
  std::string other;
  for (const char* ending : {".bin", ".safetensors.index.json"})
    if (const auto path = file_of(folder, "unet", std::string(weights_name) + ending); stands(path))
      other = message("; ", path.filename().string(),
                      " is of another kind, save the network again with safe_serialization=True "
                      "and in one file");
  throw IoError(message(folder.string(), ": no ", weights_name, ".safetensors", other));
}

/// Copies the file's tensors into the network's. Throws IoError that lists every missing, unknown
/// and misshapen one; nothing is then copied.
template <class T>
void load_tensors(const io::Safetensors& file, const std::string& source,
                  const std::vector<ForeignTensor<T>>& targets) {
  const auto name_of = [&](const ForeignTensor<T>& target) {
    return file.contains(target.name) ? target.name : early_name(target.name);
  };
  std::vector<io::WantedTensor> wanted;
  for (const auto& target : targets) wanted.push_back({name_of(target), target.shape});
  io::check_tensors(file, source, "the configuration", wanted);
  for (const auto& target : targets) target.assign(file.tensor<T>(name_of(target)));
}

/// The row of "no class", of a network that knows none: the mean of all classes.
template <class T>
void average_classes(const nn::ClassEmbedding<T>& classes) {
  const Tensor<T>& table = classes.table.value();
  const Index rows = classes.classes(), columns = table.dim(1);
  for (Index column = 0; column < columns; ++column) {
    double sum = 0;
    for (Index row = 0; row < rows; ++row)
      sum += static_cast<double>(table[row * columns + column]);
    table[rows * columns + column] = static_cast<T>(sum / static_cast<double>(rows));
  }
}

/// The network of a configuration and the weights beside it.
template <class T>
UNet<T> load_unet(UNetConfig config, const std::filesystem::path& path) {
  const std::string source = path.string();
  const auto file = io::Safetensors::read(path);
  const Index label_rows = config.image.classes;
  const bool knows_none = label_rows > 1 && file.metadata().contains(no_label_key);
  if (knows_none) --config.image.classes;
  io::check_config_size(config, file, source);
  const UNet<T> network(config, Rng(0));
  load_tensors(file, source, DiffusersTensors<T>(network, label_rows).tensors);
  if (network.time.classes && !knows_none) average_classes(*network.time.classes);
  return network;
}

}  // namespace detail

/// True if the folder has a network of diffusers in it.
inline bool is_diffusers_folder(const std::filesystem::path& folder) {
  return detail::stands(detail::file_of(folder, "unet", "config.json"));
}

/// The network of a folder, and its scheduler; diffusers' defaults if it has none. Classes of a
/// network that diffusers trained are all real ones: its no_label, which it never saw, is their
/// mean. Throws IoError that names the file, and lists all that is wrong or not supported.
template <class T>
DiffusersModel<T> load_diffusers(const std::filesystem::path& folder) {
  const detail::Pipeline pipeline = detail::read_pipeline(folder);
  detail::JsonFields config_file(detail::file_of(folder, "unet", "config.json"));
  const UNetConfig config = detail::read_unet_config(config_file);
  config_file.finish();
  DiffusersScheduler process{{.scale_range = false}, {.spacing = Spacing::leading}};
  if (config.image.learn_variance) process.scheduler.variance = Variance::learned_range;
  const auto scheduler_path = detail::file_of(folder, "scheduler", "scheduler_config.json");
  if (detail::stands(scheduler_path)) {
    detail::JsonFields fields(scheduler_path);
    process = detail::read_scheduler_config(fields);
    if (is_learned(process.scheduler.variance) != config.image.learn_variance)
      fields.problem("variance_type", "the network has ", config.image.output_channels(),
                     " channels of output for ", config.image.channels, " of input");
    if (!pipeline.scheduler.empty()) fields.only("_class_name", {pipeline.scheduler});
    fields.finish();
  }
  detail::choose_sampler(pipeline, process);
  try {
    return {detail::load_unet<T>(config, detail::weights_file(folder)),
            Scheduler<T>(process.scheduler), process.sampling};
  } catch (const PreconditionError& error) {
    throw IoError(message(folder.string(), ": ", error.what()));
  }
}

/// Writes a folder that DDPMPipeline.from_pretrained reads. A network with classes gets one more,
/// the last, which is no_label. Files that stand there are replaced, each at once.
/// Throws PreconditionError if diffusers has no such network or process; IoError, also if a
/// pipeline or network of another kind stands there.
template <class T>
void save_diffusers(const std::filesystem::path& folder, const UNet<T>& network,
                    const Scheduler<T>& scheduler) {
  using detail::Json;
  detail::check_replaceable(folder);
  const Json config = detail::unet_config(network.config);
  const Json process = detail::scheduler_config(scheduler, scheduler.config());
  const auto tensors =
      detail::DiffusersTensors<T>(network, network.config.image.classes + 1).tensors;
  std::vector<io::NamedTensor<T>> named;
  for (const auto& tensor : tensors) named.push_back({tensor.name, tensor.values()});
  io::Metadata metadata{{"format", "pt"}};
  if (network.time.classes) metadata[detail::no_label_key] = "last";

  std::error_code error;
  for (const char* part : {"unet", "scheduler"})
    if (std::filesystem::create_directories(folder / part, error); error)
      throw IoError(
          message((folder / part).string(), ": cannot make this folder: ", error.message()));
  const auto write = [&](const std::filesystem::path& path, const Json& json) {
    const std::string text = json.dump(2) + "\n";
    io::write_file(path, text.data(), text.size());
  };
  io::write_safetensors<T>(folder / "unet" / (std::string(detail::weights_name) + ".safetensors"),
                           named, metadata);
  write(folder / "unet" / "config.json", config);
  write(folder / "scheduler" / "scheduler_config.json", process);
  write(folder / "model_index.json", {{"_class_name", "DDPMPipeline"},
                                      {"unet", {"diffusers", "UNet2DModel"}},
                                      {"scheduler", {"diffusers", "DDPMScheduler"}}});
}

}  // namespace ddpm::DDPM_ABI::interop
