// The images a network is made for, and what it tells of them: what its networks' configurations
// share.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <string_view>

#include <span>

#include "ddpm/core/labels.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

struct ImageSpec {
  Index channels = 3;           ///< 1: grey, 3: colour; any other number works too
  Index height = 32;            ///< pixels of the images that sampling makes; a network takes any
  Index width = 32;             ///< size that its levels can halve
  Index classes = 0;            ///< of images, for conditional generation; 0: none
  bool learn_variance = false;  ///< twice the channels come out, see Variance

  /// Of the network's output.
  Index output_channels() const { return learn_variance ? 2 * channels : channels; }

  /// The shape of `count` such images.
  Shape shape(Index count) const { return {count, height, width, channels}; }

  /// Values that the first and last layers and the classes have at least, where those layers have
  /// `features` channels.
  double fewest_values(double features) const {
    return features * (10 * static_cast<double>(channels) + 4 * static_cast<double>(classes));
  }

  /// Throws PreconditionError that names the first field out of range; `config` stands in it.
  void validate(const char* config) const {
    require(channels >= 1, config, ": image.channels is ", channels, ", expected at least 1");
    require(height >= 1 && width >= 1, config, ": image is ", height, " x ", width,
            ", expected at least 1 x 1");
    require(classes >= 0, config, ": image.classes is ", classes, ", must not be negative");
  }

  /// Throws PreconditionError unless x is (N, H, W, channels) and large enough to be halved
  /// `halvings` times, there are N timesteps, and N labels in range, or none.
  void check_input(const char* network, const Shape& x, std::size_t timesteps,
                   std::span<const Index> labels, std::size_t halvings) const {
    require(x.rank() == 4 && x[3] == channels, network, ": x is ", x, ", expected (N, H, W, ",
            channels, ")");
    require(static_cast<Index>(timesteps) == x[0], network, ": ", timesteps, " timesteps for ",
            x[0], " images");
    const Index smallest = Index{1} << halvings;
    require(x[1] >= smallest && x[2] >= smallest, network, ": images of ", x[1], " x ", x[2],
            " are smaller than the network's reduction, ", smallest, " x ", smallest);
    check_labels(network, labels, x[0], classes);
  }

  /// Fields that files of older versions do not have: then their defaults hold.
  static constexpr std::array<std::string_view, 2> later_fields{"classes", "learn_variance"};

  /// Names every field once, by the names that files have.
  static void fields(auto& self, auto&& visit) {
    visit("image_channels", self.channels);
    visit("image_height", self.height);
    visit("image_width", self.width);
    visit("classes", self.classes);
    visit("learn_variance", self.learn_variance);
  }
};

}  // namespace ddpm::DDPM_ABI
