// Labels: the class of each image, counted from 0.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

/// The label of an image whose class is not told.
inline constexpr Index no_label = -1;

/// Throws PreconditionError unless there is no label at all, or one an image, each in [0, classes)
/// or no_label.
inline void check_labels(const char* where, std::span<const Index> labels, Index images,
                         Index classes) {
  if (labels.empty()) return;
  require(classes > 0, where, ": labels for a network without classes");
  require(std::ssize(labels) == images, where, ": ", labels.size(), " labels for ", images,
          " images");
  for (std::size_t n = 0; n < labels.size(); ++n)
    require(labels[n] >= no_label && labels[n] < classes, where, ": label ", n, " is ", labels[n],
            ", expected 0 to ", classes - 1, ", or -1 for no class");
}

}  // namespace ddpm::DDPM_ABI
