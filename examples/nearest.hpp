// For each picture the training image that is nearest to it: is it learned by heart?
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/ddpm.hpp>

namespace examples {

using namespace ddpm;

/// Of the first `most` images of the data, those with the least sum of squared differences to each
/// of the pictures (N, H, W, C); shaped as these.
template <class Data>
Tensor<float> nearest_images(const Data& data, const Tensor<float>& pictures, Index most) {
  const Index N = pictures.dim(0), size = pictures.size() / N;
  Tensor<float> result(pictures.shape(), 0.0F), image(data.image_shape());
  std::vector<double> best(static_cast<std::size_t>(N), std::numeric_limits<double>::infinity());
  for (Index i = 0; i < std::min(most, data.size()); ++i) {
    data.read(i, image.view());
    for (Index n = 0; n < N; ++n) {
      double distance = 0;
      for (Index p = 0; p < size; ++p) {
        const double d = double(pictures[n * size + p]) - double(image[p]);
        distance += d * d;
      }
      if (distance >= best[static_cast<std::size_t>(n)]) continue;
      best[static_cast<std::size_t>(n)] = distance;
      std::copy(image.begin(), image.end(), result.slice(n, 1).begin());
    }
  }
  return result;
}

}  // namespace examples
