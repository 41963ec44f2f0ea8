// The tensors of diffusers' UNet2DModel, and where they are in our U-Net.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <vector>

#include "ddpm/interop/tensor_layout.hpp"
#include "ddpm/nn/unet.hpp"

namespace ddpm::DDPM_ABI::interop::detail {

/// Collects tensors under diffusers' names.
template <class T>
class DiffusersTensors {
 public:
  std::vector<ForeignTensor<T>> tensors;

  /// Of all parameters of a network; of the classes' table the first `label_rows` rows.
  DiffusersTensors(const UNet<T>& net, Index label_rows) {
    add("conv_in", net.conv_in);
    add("time_embedding.linear_1", net.time.linear1);
    add("time_embedding.linear_2", net.time.linear2);
    if (net.time.classes)
      tensors.push_back(rows_of("class_embedding.weight", net.time.classes->table, label_rows));
    for (std::size_t i = 0; i < net.down.size(); ++i)
      add(message("down_blocks.", i), net.down[i], ".downsamplers.0.conv");
    add("mid_block", net.middle);
    for (std::size_t i = 0; i < net.up.size(); ++i)
      add(message("up_blocks.", i), net.up[i], ".upsamplers.0.conv");
    add("conv_norm_out", net.norm_out);
    add("conv_out", net.conv_out);
  }

 private:
  void add(const std::string& name, const nn::Conv2d<T>& conv) {
    tensors.push_back(conv_weight(name + ".weight", conv.weight));
    tensors.push_back(vector_of(name + ".bias", conv.bias));
  }
  void add(const std::string& name, const nn::Linear<T>& linear) {
    tensors.push_back(linear_weight(name + ".weight", linear.weight));
    tensors.push_back(vector_of(name + ".bias", linear.bias));
  }
  void add(const std::string& name, const nn::GroupNorm<T>& norm) {
    tensors.push_back(vector_of(name + ".weight", norm.gamma));
    tensors.push_back(vector_of(name + ".bias", norm.beta));
  }
  void add(const std::string& name, const nn::ResidualBlock<T>& block) {
    add(name + ".norm1", block.norm1);
    add(name + ".conv1", block.conv1);
    add(name + ".time_emb_proj", block.time);
    add(name + ".norm2", block.norm2);
    add(name + ".conv2", block.conv2);
    if (block.shortcut) add(name + ".conv_shortcut", *block.shortcut);
  }
  void add(const std::string& name, const nn::AttentionBlock<T>& block) {
    add(name + ".group_norm", block.norm);
    for (const auto& [part, its_name] : {std::pair{0, "to_q"}, {1, "to_k"}, {2, "to_v"}}) {
      auto [weight, bias] = projection_of(name + "." + its_name, block.qkv, part);
      tensors.push_back(std::move(weight));
      tensors.push_back(std::move(bias));
    }
    tensors.push_back(linear_weight(name + ".to_out.0.weight", block.out.weight));
    tensors.push_back(vector_of(name + ".to_out.0.bias", block.out.bias));
  }
  void add(const std::string& name, const std::vector<nn::Stage<T>>& stages) {
    Index attentions = 0;
    for (std::size_t i = 0; i < stages.size(); ++i) {
      add(message(name, ".resnets.", i), stages[i].block);
      if (stages[i].attention)
        add(message(name, ".attentions.", attentions++), *stages[i].attention);
    }
  }
  void add(const std::string& name, const typename UNet<T>::Level& level,
           const char* resample_name) {
    add(name, level.stages);
    if (level.resample) add(name + resample_name, *level.resample);
  }
};

/// The name that early versions of diffusers gave to a tensor; the same where they do not differ.
inline std::string early_name(std::string name) {
  for (const auto& [now, before] : {std::pair<std::string, std::string>{".to_q.", ".query."},
                                    {".to_k.", ".key."},
                                    {".to_v.", ".value."},
                                    {".to_out.0.", ".proj_attn."}})
    if (const auto place = name.find(now); place != name.npos)
      name.replace(place, now.size(), before);
  return name;
}

}  // namespace ddpm::DDPM_ABI::interop::detail
