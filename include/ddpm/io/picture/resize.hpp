// Resizing of pictures: bilinear, and over all pixels that a new one covers when it shrinks, as
// Pillow and torchvision do.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ddpm/core/shape.hpp"
#include "ddpm/io/file.hpp"

namespace ddpm::DDPM_ABI::io::picture {

/// What one new pixel takes of the old ones along an axis: a triangle that reaches to the middles
/// of its neighbours, of new pixels or of old ones, whichever are wider.
struct PixelWeights {
  Index first;
  std::vector<float> weights;  ///< sum 1

  PixelWeights(Index place, Index from, Index to) {
    const double step = double(from) / double(to), reach = std::max(step, 1.0);
    const double centre = (double(place) + 0.5) * step;
    first = std::max<Index>(0, Index(std::floor(centre - reach)));
    const Index last = std::min(from, Index(std::ceil(centre + reach)));
    const auto triangle = [&](Index i) {
      return std::max(0.0, 1 - std::abs(double(i) + 0.5 - centre) / reach);
    };
    double sum = 0;
    for (Index i = first; i < last; ++i) sum += triangle(i);
    for (Index i = first; i < last; ++i) weights.push_back(static_cast<float>(triangle(i) / sum));
  }

  /// The weighted sum of values that lie `stride` apart, pixel 0 first.
  template <class V>
  float of(const V* values, Index stride) const {
    float sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i)
      sum += weights[i] * float(values[(first + Index(i)) * stride]);
    return sum;
  }
};

/// Pixels (H, W, C) as (height, width, C): columns first, then rows, rounded at the end.
inline Bytes resize(const Bytes& pixels, Index H, Index W, Index C, Index height, Index width) {
  const Index row = width * C;
  std::vector<float> wide(static_cast<std::size_t>(H * row));
  for (Index w = 0; w < width; ++w) {
    const PixelWeights seen(w, W, width);
    for (Index h = 0; h < H; ++h)
      for (Index c = 0; c < C; ++c)
        wide[static_cast<std::size_t>(h * row + w * C + c)] =
            seen.of(pixels.data() + h * W * C + c, C);
  }
  Bytes result(static_cast<std::size_t>(height * row));
  for (Index h = 0; h < height; ++h) {
    const PixelWeights seen(h, H, height);
    for (Index i = 0; i < row; ++i)
      result[static_cast<std::size_t>(h * row + i)] =
          static_cast<std::uint8_t>(std::lround(std::min(seen.of(wide.data() + i, row), 255.0F)));
  }
  return result;
}

}  // namespace ddpm::DDPM_ABI::io::picture
