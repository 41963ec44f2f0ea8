// Networks as ONNX files, for ONNX Runtime, OpenVINO and others.
//
//   x       float32 (N, C, H, W)    in the order of ONNX, where our tensors are (N, H, W, C)
//   t       float32 (N)             timesteps
//   labels  int64 (N)               only of networks with classes; -1: no class
//   y       float32 (N, C, H, W)    what the network predicts, with a learned variance 2C
//
// N is free; H and W are those of the network's configuration.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/interop/onnx/layers.hpp"
#include "ddpm/io/file.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/nn/unet.hpp"

namespace ddpm::DDPM_ABI::interop {

namespace onnx {

/// The network's last map.
template <class T>
Map write_network(LayerWriter& w, const UNet<T>& net, const Map& x, const std::string& e) {
  std::vector<Map> skips{w.conv("conv_in", net.conv_in, x)};
  Map h = skips[0];
  for (std::size_t i = 0; i < net.down.size(); ++i) {
    const std::string name = message("down.", i);
    for (std::size_t j = 0; j < net.down[i].stages.size(); ++j)
      skips.push_back(h = w.stage(message(name, ".stages.", j), net.down[i].stages[j], h, e));
    if (net.down[i].resample)
      skips.push_back(h = w.conv(name + ".resample", *net.down[i].resample, h));
  }
  for (std::size_t i = 0; i < net.middle.size(); ++i)
    h = w.stage(message("middle.", i), net.middle[i], h, e);
  for (std::size_t i = 0; i < net.up.size(); ++i) {
    const std::string name = message("up.", i);
    for (std::size_t j = 0; j < net.up[i].stages.size(); ++j) {
      h = w.stage(message(name, ".stages.", j), net.up[i].stages[j], w.concat(h, skips.back()), e);
      skips.pop_back();
    }
    if (net.up[i].resample)
      h = w.conv(name + ".resample", *net.up[i].resample,
                 w.enlarge(h, skips.back().H, skips.back().W));
  }
  return w.conv("conv_out", net.conv_out, w.silu(w.norm("norm_out", net.norm_out, h)));
}

template <class T>
Map write_network(LayerWriter& w, const TutorialUNet<T>& net, const Map& x, const std::string& e) {
  std::vector<Map> skips;
  Map h = w.conv("conv_in", net.conv_in, x);
  for (std::size_t i = 0; i < net.down.size(); ++i) {
    skips.push_back(w.stage(message("down.", i), net.down[i], h, e));
    h = w.max_pool(skips.back());
  }
  for (std::size_t i = 0; i < net.middle.size(); ++i)
    h = w.stage(message("middle.", i), net.middle[i], h, e);
  for (std::size_t i = 0; i < net.up.size(); ++i) {
    const std::string name = message("up.", i);
    const Map& skip = skips.back();
    h = w.conv_transpose(name + ".upsample", net.up[i].upsample, h, skip.H, skip.W);
    h = w.stage(name + ".stage", net.up[i].stage, w.concat(h, skip), e);
    skips.pop_back();
  }
  for (std::size_t i = 0; i < net.final.size(); ++i)
    h = w.stage(message("final.", i), net.final[i], h, e);
  return w.conv("conv_out", net.conv_out, h);
}

}  // namespace onnx

/// Writes a UNet or TutorialUNet. An older file at `path` stays whole until the new one is.
/// Throws PreconditionError if the configuration's images are too small for the levels or larger
/// than 65536 pixels a side, or the file would be larger than 2 GB, which is the most that the
/// format holds; IoError.
template <template <class> class Network, class T>
void save_onnx(const std::filesystem::path& path, const Network<T>& network) {
  using onnx::ElementType;
  constexpr Index most_bytes = Index{1} << 31;
  const ImageSpec& image = network.config.image;
  const Shape shape = network.sample_shape(1);
  image.check_input("save_onnx", shape, 1, {}, network.halvings());
  require(image.height <= 65536 && image.width <= 65536, "save_onnx: images of ", image.height,
          " x ", image.width, " pixels, expected at most 65536 x 65536");
  const Index bytes_at_least = 4 * nn::parameter_count<T>(network);
  require(bytes_at_least < most_bytes - (Index{16} << 20), "save_onnx: a file of more than ",
          bytes_at_least, " bytes, expected at most ", most_bytes);
  onnx::LayerWriter writer;
  onnx::Graph& graph = writer.graph;
  graph.input("x", ElementType::float32, {-1, image.channels, image.height, image.width});
  graph.input("t", ElementType::float32, {-1});
  if (network.classes() > 0) graph.input("labels", ElementType::int64, {-1});
  const std::string e = writer.time_mlp(network.time, "t", "labels");
  const onnx::Map last =
      onnx::write_network(writer, network, {"x", image.channels, image.height, image.width}, e);
  graph.add("Identity", {last.value}, {}, "y");
  graph.output("y", ElementType::float32, {-1, last.C, last.H, last.W});
  const std::string bytes =
      graph.model(Network<T>::network_name,
                  message(DDPM_VERSION_MAJOR, ".", DDPM_VERSION_MINOR, ".", DDPM_VERSION_PATCH));
  io::write_file(path, bytes.data(), bytes.size());
}

}  // namespace ddpm::DDPM_ABI::interop
