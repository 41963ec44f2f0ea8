// The configuration of a UNet2DModel of diffusers, config.json, and ours.
//
// diffusers' network is that of the paper where its blocks are DownBlock2D and AttnDownBlock2D;
// what else it can be is not supported.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/interop/json_fields.hpp"
#include "ddpm/nn/unet.hpp"

namespace ddpm::DDPM_ABI::interop::detail {

/// True for an attention block, of the type `plain` ("DownBlock2D") or "Attn" and that. Notes a
/// problem for others.
inline bool attends(JsonFields& fields, const std::string& key, std::string type,
                    const std::string& plain) {
  if (type.starts_with("UNetRes")) type.erase(0, 7);  // of early versions
  if (type != plain && type != "Attn" + plain)
    fields.problem(key, "supported are ", plain, " and Attn", plain, ", not ", type);
  return type.starts_with("Attn");
}

/// The levels that have attention, of which both lists must tell the same.
inline std::vector<Index> attention_levels(JsonFields& fields, std::size_t levels) {
  const auto down = fields.texts("down_block_types"), up = fields.texts("up_block_types");
  std::vector<Index> result;
  if (down.size() != levels || up.size() != levels) {
    for (const char* key : {"down_block_types", "up_block_types"})
      if ((key[0] == 'd' ? down : up).size() != levels)
        fields.problem(key, "expected ", levels, " types, one for each of block_out_channels");
    return result;
  }
  for (std::size_t i = 0; i < levels; ++i) {
    const bool on_the_way_down = attends(fields, "down_block_types", down[i], "DownBlock2D");
    const bool on_the_way_up = attends(fields, "up_block_types", up[levels - 1 - i], "UpBlock2D");
    if (on_the_way_down != on_the_way_up)
      fields.problem("up_block_types", "level ", i,
                     " has attention on only one of its ways, supported is both or none");
    if (on_the_way_down) result.push_back(static_cast<Index>(i));
  }
  return result;
}

/// Sets the size of the images: a number, or height and width.
inline void read_size(JsonFields& fields, ImageSpec& image) {
  if (fields.is_list("sample_size")) {
    const auto size = fields.wholes("sample_size");
    if (size.size() != 2) return fields.problem("sample_size", "expected height and width");
    image.height = size[0];
    image.width = size[1];
  } else {
    image.height = image.width = fields.whole("sample_size");
  }
  if (image.height < 1 || image.width < 1 || image.height > 65536 || image.width > 65536)
    fields.problem("sample_size", "expected 1 to 65536 pixels");
}

/// The heads' channels: 0 where a block has one head.
inline Index read_head_channels(JsonFields& fields) {
  if (fields.is_null("attention_head_dim")) return fields.ignore("attention_head_dim"), 0;
  const Index channels = fields.whole("attention_head_dim", 8);
  if (channels < 1) fields.problem("attention_head_dim", "expected null or at least 1");
  return channels;
}

/// The fields that have one supported value.
inline void check_plain(JsonFields& fields, Index groups, Index time_channels) {
  fields.only("_class_name", {"UNet2DModel"});
  fields.only("center_input_sample", {false});
  fields.only("time_embedding_type", {"positional"});
  fields.only("time_embedding_dim", {nullptr, time_channels});
  fields.only("mid_block_type", {"UNetMidBlock2D"});
  fields.only("mid_block_scale_factor", {1});
  fields.only("downsample_type", {"conv"});
  fields.only("upsample_type", {"conv"});
  fields.only("act_fn", {"silu", "swish"});
  fields.only("attn_norm_num_groups", {nullptr, groups});
  fields.only("resnet_time_scale_shift", {"default"});
  fields.only("add_attention", {true});
  fields.only("class_embed_type", {nullptr});
  fields.ignore("num_train_timesteps");  // of learned time embeddings
}

/// Reads config.json; classes are all rows of the class embedding. Where a field is not there,
/// diffusers' default holds, but for the shape of the network. Problems are noted.
inline UNetConfig read_unet_config(JsonFields& fields) {
  UNetConfig config;
  config.image.channels = fields.whole("in_channels");
  if (config.image.channels < 1 || config.image.channels > 65536)
    fields.problem("in_channels", "expected 1 to 65536");
  const Index out = fields.whole("out_channels");
  config.image.learn_variance = config.image.channels > 0 && out / 2 == config.image.channels;
  if (out != config.image.output_channels())
    fields.problem("out_channels",
                   "supported are in_channels or, with a learned variance, twice that");
  read_size(fields, config.image);
  const auto widths = fields.wholes("block_out_channels");
  config.multipliers.clear();
  if (widths.empty() || widths.size() > 16)
    fields.problem("block_out_channels", "expected 1 to 16 levels");
  for (const Index width : widths) {
    if (width < 4 || width > 65536)
      fields.problem("block_out_channels", width, " is out of the range from 4 to 65536");
    config.multipliers.push_back(static_cast<double>(width) / static_cast<double>(widths[0]));
  }
  config.channels = widths.empty() ? 0 : std::clamp<Index>(widths[0], 0, 65536);
  config.attention_levels = attention_levels(fields, widths.size());
  config.blocks = fields.whole("layers_per_block", 2);
  if (config.blocks < 1 || config.blocks > 65536)
    fields.problem("layers_per_block", "expected 1 to 65536");
  config.head_channels = read_head_channels(fields);
  config.groups = fields.whole("norm_num_groups", 32);
  config.norm_eps = fields.number("norm_eps", 1e-5);
  if (!(config.norm_eps > 0 && config.norm_eps < 1)) fields.problem("norm_eps", "expected (0, 1)");
  config.dropout = fields.number("dropout", 0);
  if (!(config.dropout >= 0 && config.dropout < 1)) fields.problem("dropout", "expected [0, 1)");
  const Index padding = fields.whole("downsample_padding", 1);
  if (padding != 0 && padding != 1) fields.problem("downsample_padding", "supported is 0 or 1");
  config.symmetric_padding = padding == 1;
  config.time.frequency_shift = fields.number("freq_shift", 0);
  if (!(config.time.frequency_shift >= 0 && config.time.frequency_shift <= 1))
    fields.problem("freq_shift", "supported is 0 to 1");
  config.time.cosine_first = fields.flag("flip_sin_to_cos", true);
  if (!fields.is_null("num_class_embeds")) {
    config.image.classes = fields.whole("num_class_embeds", 0);
    if (config.image.classes < 0) fields.problem("num_class_embeds", "expected null or at least 1");
  } else {
    fields.ignore("num_class_embeds");
  }
  check_plain(fields, config.groups, 4 * config.channels);
  return config;
}

/// Throws PreconditionError: diffusers has no such network.
template <class... What>
void unlike(const What&... what) {
  require(false, "save_diffusers: diffusers' UNet2DModel has no network of this kind: ", what...);
}

/// attention_head_dim: null where a block has one head. Throws PreconditionError if the levels'
/// heads have different widths.
inline Json head_channels_of(const UNetConfig& config) {
  if (config.head_channels > 0) return config.head_channels;
  if (config.heads == 1) return nullptr;
  const Index width = config.width(config.multipliers.size() - 1);
  for (const Index level : config.attention_levels)
    if (config.width(static_cast<std::size_t>(level)) != width)
      unlike("levels of different widths have ", config.heads, " heads each");
  return width / config.heads;
}

/// config.json of our network. Throws PreconditionError if diffusers has no such network.
inline Json unet_config(const UNetConfig& config) {
  const std::size_t levels = config.multipliers.size();
  if (config.width(0) != config.channels)
    unlike("the first level has ", config.width(0), " channels, the first convolution ",
           config.channels);
  const Index smallest = Index{1} << (levels - 1);
  if (config.image.height % smallest != 0 || config.image.width % smallest != 0)
    unlike("images of ", config.image.height, " x ", config.image.width, " do not halve ",
           levels - 1, " times; give the network a size of multiples of ", smallest);
  Json widths = Json::array(), down = Json::array(), up = Json::array();
  for (std::size_t i = 0; i < levels; ++i) {
    widths.push_back(config.width(i));
    down.push_back(config.attends(i) ? "AttnDownBlock2D" : "DownBlock2D");
    up.push_back(config.attends(levels - 1 - i) ? "AttnUpBlock2D" : "UpBlock2D");
  }
  const ImageSpec& image = config.image;
  return {{"_class_name", "UNet2DModel"},
          {"sample_size",
           image.height == image.width ? Json(image.height) : Json{image.height, image.width}},
          {"in_channels", image.channels},
          {"out_channels", image.output_channels()},
          {"center_input_sample", false},
          {"time_embedding_type", "positional"},
          {"freq_shift", config.time.frequency_shift},
          {"flip_sin_to_cos", config.time.cosine_first},
          {"down_block_types", down},
          {"mid_block_type", "UNetMidBlock2D"},
          {"up_block_types", up},
          {"block_out_channels", widths},
          {"layers_per_block", config.blocks},
          {"mid_block_scale_factor", 1},
          {"downsample_padding", config.symmetric_padding ? 1 : 0},
          {"downsample_type", "conv"},
          {"upsample_type", "conv"},
          {"dropout", config.dropout},
          {"act_fn", "silu"},
          {"attention_head_dim", head_channels_of(config)},
          {"norm_num_groups", config.groups},
          {"norm_eps", config.norm_eps},
          {"resnet_time_scale_shift", "default"},
          {"add_attention", true},
          {"class_embed_type", nullptr},
          {"num_class_embeds", image.classes > 0 ? Json(image.classes + 1) : Json()}};
}

}  // namespace ddpm::DDPM_ABI::interop::detail
