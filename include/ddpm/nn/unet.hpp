// The U-Net of Ho, Jain, Abbeel 2020 (appendix B).
//
//   down:   conv3x3; each level: blocks x stage, every output a skip; then conv3x3 of stride 2,
//           padded right and bottom, its output a skip too
//   middle: residual block, attention, residual block
//   up:     each level: (blocks + 1) x (concat a skip, stage); then nearest x2, conv3x3
//   end:    silu(norm), conv3x3
//
// Upsampling goes to the size of the skip it meets, so images need not halve evenly.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/nn/image_spec.hpp"
#include "ddpm/nn/stage.hpp"
#include "ddpm/nn/time_mlp.hpp"

namespace ddpm::DDPM_ABI {

struct UNetConfig {
  ImageSpec image = {};
  Index channels = 128;  ///< at full resolution
  /// Of channels, one a level; the products are whole numbers.
  std::vector<double> multipliers = {1, 2, 2, 2};
  Index blocks = 2;                           ///< residual blocks a level
  std::vector<Index> attention_levels = {1};  ///< 0 is full resolution; the middle always attends
  Index heads = 1;                            ///< of attention
  Index groups = 32;                          ///< of every GroupNorm
  double dropout = 0.1;                       ///< rate in [0, 1)
  // Where other networks of this kind, such as those of diffusers, are not as the paper's.
  Index head_channels = 0;  ///< of each head, which then tells their number; 0: `heads` does
  double norm_eps = 1e-6;   ///< added to the variance of every GroupNorm, positive
  bool symmetric_padding =
      false;  ///< of convolutions of stride 2: all around, not right and bottom
  nn::TimeEmbeddingOptions time = {};

  /// The paper's network for CIFAR-10: 35,746,307 parameters, attention at 16x16.
  static UNetConfig ho2020_cifar10() { return {}; }

  /// The paper's network for 256x256 images: 113,673,219 parameters, attention at 16x16.
  static UNetConfig ho2020_256() {
    return {.image = {.height = 256, .width = 256},
            .multipliers = {1, 1, 2, 2, 4, 4},
            .attention_levels = {4},
            .dropout = 0};
  }

  /// A small one for MNIST and its like: 4,179,297 parameters.
  static UNetConfig mnist_small() {
    return {.image = {.channels = 1, .height = 28, .width = 28},
            .channels = 32,
            .multipliers = {1, 2, 4, 4},
            .blocks = 1,
            .dropout = 0};
  }

  /// The smallest that draws: 1,112,801 parameters, for a first picture within minutes.
  static UNetConfig tiny() {
    return {.image = {.channels = 1, .height = 28, .width = 28},
            .channels = 32,
            .multipliers = {1, 2, 2},
            .blocks = 1,
            .dropout = 0};
  }

  /// Throws PreconditionError that names the first field out of range.
  void validate() const {
    image.validate("UNetConfig");
    require(channels >= 4 && channels <= 65536, "UNetConfig: channels is ", channels,
            ", expected 4 to 65536");
    require(!multipliers.empty() && multipliers.size() <= 16, "UNetConfig: ", multipliers.size(),
            " multipliers, expected 1 to 16 levels");
    for (std::size_t level = 0; level < multipliers.size(); ++level) {
      const double multiplier = multipliers[level],
                   product = static_cast<double>(channels) * multiplier;
      require(multiplier > 0 && multiplier <= 65536, "UNetConfig: a multiplier is ", multiplier,
              ", expected (0, 65536]");
      require(std::abs(product - static_cast<double>(width(level))) < 1e-6 && width(level) >= 4,
              "UNetConfig: multiplier ", multiplier, " of ", channels, " channels gives ", product,
              ", expected a whole number, at least 4");
    }
    require(blocks >= 1 && blocks <= 65536, "UNetConfig: blocks is ", blocks,
            ", expected 1 to 65536");
    for (const Index level : attention_levels)
      require(level >= 0 && level < static_cast<Index>(multipliers.size()),
              "UNetConfig: attention level ", level, ", expected 0 to ", multipliers.size() - 1);
    require(dropout >= 0 && dropout < 1, "UNetConfig: dropout is ", dropout, ", expected [0, 1)");
    require(head_channels >= 0, "UNetConfig: head_channels is ", head_channels,
            ", must not be negative");
    require(norm_eps > 0 && norm_eps < 1, "UNetConfig: norm_eps is ", norm_eps,
            ", expected (0, 1)");
    require(time.frequency_shift >= 0 && time.frequency_shift <= 1,
            "UNetConfig: time.frequency_shift is ", time.frequency_shift, ", expected [0, 1]");
  }

  /// Channels of a level.
  Index width(std::size_t level) const {
    return std::lround(static_cast<double>(channels) * multipliers[level]);
  }

  /// The network has more values than that. In double and before validate(), so that whatever
  /// numbers a damaged file holds, they neither overflow nor make anybody allocate.
  double fewest_values() const {
    const double c = static_cast<double>(channels);
    double values = image.fewest_values(c) + 20 * c * c;
    for (const double multiplier : multipliers) {
      const double width = c * multiplier;
      values += (2 * static_cast<double>(blocks) + 1) * 9 * width * width;
    }
    return values;
  }

  static constexpr std::array<std::string_view, 7> later_fields{
      "classes",           "learn_variance",  "head_channels", "norm_eps",
      "symmetric_padding", "frequency_shift", "cosine_first"};

  /// Names every field once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    ImageSpec::fields(self.image, visit);
    visit("channels", self.channels);
    visit("multipliers", self.multipliers);
    visit("blocks", self.blocks);
    visit("attention_levels", self.attention_levels);
    visit("heads", self.heads);
    visit("groups", self.groups);
    visit("dropout", self.dropout);
    visit("head_channels", self.head_channels);
    visit("norm_eps", self.norm_eps);
    visit("symmetric_padding", self.symmetric_padding);
    visit("frequency_shift", self.time.frequency_shift);
    visit("cosine_first", self.time.cosine_first);
  }

  bool attends(std::size_t level) const {
    return std::find(attention_levels.begin(), attention_levels.end(), static_cast<Index>(level)) !=
           attention_levels.end();
  }
};

template <class T>
struct UNet {
  /// The stages of one resolution, and the convolution that leaves it.
  struct Level {
    std::vector<nn::Stage<T>> stages;
    std::optional<nn::Conv2d<T>> resample;

    static void members(auto& self, auto&& visit) {
      visit("stages", self.stages);
      visit("resample", self.resample);
    }
  };

  using Config = UNetConfig;
  static constexpr const char* network_name = "UNet";

  UNetConfig config;
  nn::TimeMlp<T> time;
  nn::Conv2d<T> conv_in;
  std::vector<Level> down;  ///< from full resolution
  std::vector<nn::Stage<T>> middle;
  std::vector<Level> up;  ///< from the lowest resolution
  nn::GroupNorm<T> norm_out;
  nn::Conv2d<T> conv_out;  ///< starts at zero

  /// Throws PreconditionError if the configuration is out of range, or groups or heads do not
  /// divide the channels of a layer.
  UNet(const UNetConfig& unet_config, Rng rng)
      : config((unet_config.validate(), unet_config)),
        time(config.channels, nn::TimeActivation::silu, config.image.classes, rng, config.time),
        conv_in(nn::Conv2d<T>::same3x3(config.image.channels, config.channels, rng)),
        norm_out(config.width(0), config.groups, config.norm_eps),
        conv_out(nn::Conv2d<T>::same3x3(config.width(0), config.image.output_channels(), rng,
                                        nn::Init::zero)) {
    const nn::StageOptions options{.time_channels = 4 * config.channels,
                                   .groups = config.groups,
                                   .heads = config.heads,
                                   .head_channels = config.head_channels,
                                   .dropout = config.dropout,
                                   .norm_eps = config.norm_eps};
    const Padding halving =
        config.symmetric_padding ? Padding::same(1) : Padding::right_and_bottom();
    const std::size_t levels = config.multipliers.size();
    Index width = config.channels;
    std::vector<Index> skips{width};
    const auto add = [&](std::vector<nn::Stage<T>>& stages, Index in, Index out, bool attends) {
      stages.emplace_back(in, out, attends, options, rng);
    };
    for (std::size_t i = 0; i < levels; ++i) {
      Level& level = down.emplace_back();
      for (Index b = 0; b < config.blocks; ++b) {
        const Index out = config.width(i);
        add(level.stages, width, out, config.attends(i));
        skips.push_back(width = out);
      }
      if (i + 1 == levels) break;
      level.resample = nn::Conv2d<T>(width, width, 3, {2, halving}, rng);
      skips.push_back(width);
    }
    add(middle, width, width, true);
    add(middle, width, width, false);
    for (std::size_t i = levels; i-- > 0;) {
      Level& level = up.emplace_back();
      for (Index b = 0; b <= config.blocks; ++b) {
        const Index out = config.width(i);
        add(level.stages, width + skips.back(), out, config.attends(i));
        skips.pop_back();
        width = out;
      }
      if (i > 0) level.resample = nn::Conv2d<T>::same3x3(width, width, rng);
    }
  }

  /// The network's prediction, shaped as x; with learn_variance of twice its channels.
  ///   x       (N, H, W, image_channels); H and W at least 2^(levels - 1)
  ///   t       N timesteps, each at least 0
  ///   labels  N classes in [0, config.image.classes) or no_label; none at all: no_label for all
  ///   rng     of dropout when training; null when sampling
  /// Throws PreconditionError if shapes disagree, a label is out of range or the images are too
  /// small.
  Variable<T> operator()(const Variable<T>& x, std::span<const double> t,
                         std::span<const Index> labels = {}, Rng* rng = nullptr) const {
    config.image.check_input("UNet", x.shape(), t.size(), labels, halvings());
    const Variable<T> e = time(t, labels);
    PooledVector<Variable<T>> skips;
    Variable<T> h = conv_in(x);
    skips.push_back(h);
    for (const Level& level : down) {
      for (const auto& stage : level.stages) skips.push_back(h = stage(h, e, rng));
      if (level.resample) skips.push_back(h = (*level.resample)(h));
    }
    for (const auto& stage : middle) h = stage(h, e, rng);
    for (const Level& level : up) {
      for (const auto& stage : level.stages) {
        h = stage(h, e, rng, skips.back());
        skips.pop_back();
      }
      if (level.resample) h = level.resample->enlarged(h, skips.back().dim(1), skips.back().dim(2));
    }
    return norm_out.before(conv_out, h, Activation::silu);
  }

  Index classes() const { return config.image.classes; }

  /// How often images are halved.
  std::size_t halvings() const { return down.size() - 1; }

  /// The shape of `count` images of the configuration's size.
  Shape sample_shape(Index count) const { return config.image.shape(count); }
  /// Sets that size, in pixels.
  void set_image_size(Index height, Index width) {
    config.image.height = height;
    config.image.width = width;
  }

  static void members(auto& self, auto&& visit) {
    visit("time", self.time);
    visit("conv_in", self.conv_in);
    visit("down", self.down);
    visit("middle", self.middle);
    visit("up", self.up);
    visit("norm_out", self.norm_out);
    visit("conv_out", self.conv_out);
  }
};

}  // namespace ddpm::DDPM_ABI
