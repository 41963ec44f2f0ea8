// Any network that these programs can take, and what they write of one.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/ddpm.hpp>
#include <ddpm/interop/diffusers.hpp>
#include <ddpm/interop/onnx.hpp>
#include <string>

namespace examples {

using namespace ddpm;

/// The file that a checkpoint argument means.
inline std::string checkpoint_file(const std::string& path) {
  std::error_code error;  // reading the file then tells it
  if (!std::filesystem::is_directory(path, error)) return path;
  if (const auto state = latest_run_state(path)) return state->string();
  return path + "/model.safetensors";
}

/// Calls f with the network and scheduler of a checkpoint, whichever network it holds, or of a
/// folder of diffusers.
template <class F>
void with_checkpoint(const std::string& argument, const F& f) {
  const std::string path = checkpoint_file(argument);
  if (interop::is_diffusers_folder(argument)) {
    std::error_code error;
    if (std::filesystem::exists(path, error))
      throw IoError(message(argument, ": holds a network of diffusers and ", path,
                            "; name that file, or move one of the two"));
    return f(interop::load_diffusers<float>(argument));
  }
  const auto file = io::Safetensors::read(path);
  if (checkpoint_network(file, path) == TutorialUNet<float>::network_name)
    f(load_checkpoint<float, TutorialUNet<float>>(file, path));
  else
    f(load_checkpoint<float, UNet<float>>(file, path));
}

/// Writes a network as an ONNX file, if the path ends in .onnx, else as a folder of diffusers.
/// Throws IoError; PreconditionError if diffusers has no such network.
template <class Model>
void export_model(const std::filesystem::path& path, const Model& model) {
  if (path.extension() == ".onnx")
    interop::save_onnx(path, model.network);
  else if constexpr (requires { interop::save_diffusers(path, model.network, model.scheduler); })
    interop::save_diffusers(path, model.network, model.scheduler);
  else
    require(false, path.string(), ": diffusers has no network like ", model.network.network_name,
            "; only an ONNX file can be written, whose name ends in .onnx");
}

}  // namespace examples
