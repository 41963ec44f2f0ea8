// Nearest-neighbour upsampling to any larger size: y[oh, ow] = x[oh H / OH, ow W / OW], rounded
// down.
//
// Letters: N images, H x W in, OH x OW out, C channels. NHWC.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

inline void check_upsample(const Shape& from, const Shape& to) {
  require(from.rank() == 4 && to.rank() == 4, "upsample: x is ", from, ", y is ", to,
          ", expected (N, H, W, C)");
  require(from[0] == to[0] && from[3] == to[3] && from[1] > 0 && from[2] > 0 && to[1] >= from[1] &&
              to[2] >= from[2],
          "upsample: ", from, " does not become ", to);
}

}  // namespace detail

/// Writes y (N, OH, OW, C) for x (N, H, W, C). Throws PreconditionError if N or C differ, x has no
/// pixel, or y is smaller than x.
template <class T>
void upsample_nearest_forward(View<const T> x, View<T> y) {
  detail::check_upsample(x.shape, y.shape);
  const Index H = x.dim(1), W = x.dim(2), C = x.dim(3), OH = y.dim(1), OW = y.dim(2);
  parallel_for(y.dim(0) * OH, [&](Index row) {
    const Index in = (row / OH * H + row % OH * H / OH) * W;
    for (Index ow = 0; ow < OW; ++ow) std::copy_n(x.row(in + ow * W / OW), C, y.row(row * OW + ow));
  });
}

/// With L = <dy, y>, writes dx: the sum of dy over the pixels each input pixel went to.
template <class T>
void upsample_nearest_backward(View<const T> dy, View<T> dx) {
  detail::check_upsample(dx.shape, dy.shape);
  const Index H = dx.dim(1), W = dx.dim(2), C = dx.dim(3), OH = dy.dim(1), OW = dy.dim(2);
  const auto add = [](const auto& sum, const auto& v) { return sum + v; };
  parallel_for(dx.dim(0) * H, [&](Index row) {
    const Index n = row / H, h = row % H;
    std::fill_n(dx.row(row * W), W * C, T(0));
    for (Index oh = (h * OH + H - 1) / H; oh < OH && oh * H / OH == h; ++oh)
      for (Index ow = 0; ow < OW; ++ow) {
        T* target = dx.row(row * W + ow * W / OW);
        simd::map(add, C, target, target, dy.row((n * OH + oh) * OW + ow));
      }
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
