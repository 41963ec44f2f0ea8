// The tutorial's U-Net: levels of one residual block each, max pooling down, transposed convolution
// up, GELU in the time embedding, multi-head attention at only one resolution.
//
//   down:   conv3x3; each level: stage, its output a skip; max pooling 2x2
//   middle: 2 residual blocks
//   up:     each level in reverse: transposed convolution x2, concat the skip, stage
//   end:    2 residual blocks, conv1x1
//
// The way up goes to the size of the skip it meets, so images need not halve evenly.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/resample.hpp"
#include "ddpm/nn/image_spec.hpp"
#include "ddpm/nn/stage.hpp"
#include "ddpm/nn/time_mlp.hpp"

namespace ddpm::DDPM_ABI {

struct TutorialUNetConfig {
  ImageSpec image = {};
  std::vector<Index> levels = {32, 64, 128, 256};  ///< channels, from full resolution
  std::vector<Index> attention_levels = {1};       ///< 16x16 of 32x32 images
  Index heads = 4;
  Index groups = 32;   ///< of every GroupNorm
  double dropout = 0;  ///< rate in [0, 1)

  /// 8,144,227 parameters with three image channels.
  static TutorialUNetConfig tutorial() { return {}; }

  /// Throws PreconditionError that names the first field out of range.
  void validate() const {
    image.validate("TutorialUNetConfig");
    require(!levels.empty() && levels.size() <= 16, "TutorialUNetConfig: ", levels.size(),
            " levels, expected 1 to 16");
    for (const Index channels : levels)
      require(channels >= 4 && channels <= (Index{1} << 20), "TutorialUNetConfig: a level has ",
              channels, " channels, expected 4 to 1048576");
    for (const Index level : attention_levels)
      require(level >= 0 && level < static_cast<Index>(levels.size()),
              "TutorialUNetConfig: attention level ", level, ", expected 0 to ", levels.size() - 1);
    require(dropout >= 0 && dropout < 1, "TutorialUNetConfig: dropout is ", dropout,
            ", expected [0, 1)");
  }

  /// The network has more values than that, see UNetConfig.
  double fewest_values() const {
    const double first = levels.empty() ? 0 : static_cast<double>(levels[0]);
    double values = image.fewest_values(first) + 20 * first * first;
    for (const Index level : levels) {
      const double width = static_cast<double>(level);
      values += 36 * width * width;
    }
    return values;
  }

  static constexpr auto later_fields = ImageSpec::later_fields;

  /// Names every field once, as a module its members.
  static void fields(auto& self, auto&& visit) {
    ImageSpec::fields(self.image, visit);
    visit("levels", self.levels);
    visit("attention_levels", self.attention_levels);
    visit("heads", self.heads);
    visit("groups", self.groups);
    visit("dropout", self.dropout);
  }

  bool attends(std::size_t level) const {
    return std::find(attention_levels.begin(), attention_levels.end(), static_cast<Index>(level)) !=
           attention_levels.end();
  }
};

template <class T>
struct TutorialUNet {
  struct UpLevel {
    nn::ConvTranspose2d<T> upsample;
    nn::Stage<T> stage;

    static void members(auto& self, auto&& visit) {
      visit("upsample", self.upsample);
      visit("stage", self.stage);
    }
  };

  using Config = TutorialUNetConfig;
  static constexpr const char* network_name = "TutorialUNet";

  TutorialUNetConfig config;
  nn::TimeMlp<T> time;
  nn::Conv2d<T> conv_in;
  std::vector<nn::Stage<T>> down, middle;
  std::vector<UpLevel> up;  ///< from the lowest resolution
  std::vector<nn::Stage<T>> final;
  nn::Conv2d<T> conv_out;  ///< 1x1, starts at zero

  /// Throws PreconditionError if the configuration is out of range, or groups or heads do not
  /// divide the channels of a layer.
  TutorialUNet(const TutorialUNetConfig& unet_config, Rng rng)
      : config((unet_config.validate(), unet_config)),
        time(config.levels[0], nn::TimeActivation::gelu, config.image.classes, rng),
        conv_in(nn::Conv2d<T>::same3x3(config.image.channels, config.levels[0], rng)),
        conv_out(nn::Conv2d<T>::pointwise(config.levels[0], config.image.output_channels(), rng,
                                          nn::Init::zero)) {
    const nn::StageOptions options{.time_channels = 4 * config.levels[0],
                                   .groups = config.groups,
                                   .heads = config.heads,
                                   .dropout = config.dropout};
    Index width = config.levels[0];
    for (std::size_t i = 0; i < config.levels.size(); ++i) {
      down.emplace_back(width, config.levels[i], config.attends(i), options, rng);
      width = config.levels[i];
    }
    for (int i = 0; i < 2; ++i) middle.emplace_back(width, width, false, options, rng);
    for (std::size_t i = config.levels.size(); i-- > 0;) {
      const Index out = config.levels[i];
      nn::ConvTranspose2d<T> upsample(width, out, rng);
      up.push_back({upsample, nn::Stage<T>(2 * out, out, config.attends(i), options, rng)});
      width = out;
    }
    for (int i = 0; i < 2; ++i) final.emplace_back(width, width, false, options, rng);
  }

  /// The network's prediction, shaped as x; with learn_variance of twice its channels.
  ///   x       (N, H, W, image_channels); H and W at least 2^levels
  ///   t       N timesteps, each at least 0
  ///   labels  N classes in [0, config.image.classes) or no_label; none at all: no_label for all
  ///   rng     of dropout when training; null when sampling
  /// Throws PreconditionError if shapes disagree, a label is out of range or the images are too
  /// small.
  Variable<T> operator()(const Variable<T>& x, std::span<const double> t,
                         std::span<const Index> labels = {}, Rng* rng = nullptr) const {
    config.image.check_input("TutorialUNet", x.shape(), t.size(), labels, halvings());
    const Variable<T> e = time(t, labels);
    PooledVector<Variable<T>> skips;
    Variable<T> h = conv_in(x);
    for (const auto& stage : down) {
      skips.push_back(stage(h, e, rng));
      h = max_pool2d(skips.back());
    }
    for (const auto& stage : middle) h = stage(h, e, rng);
    for (const UpLevel& level : up) {
      const Variable<T>& skip = skips.back();
      h = level.stage(level.upsample(h, skip.dim(1), skip.dim(2)), e, rng, skip);
      skips.pop_back();
    }
    for (const auto& stage : final) h = stage(h, e, rng);
    return conv_out(h);
  }

  Index classes() const { return config.image.classes; }

  /// How often images are halved.
  std::size_t halvings() const { return down.size(); }

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
    visit("final", self.final);
    visit("conv_out", self.conv_out);
  }
};

}  // namespace ddpm::DDPM_ABI
