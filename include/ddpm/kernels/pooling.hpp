// Max and average pooling over k x k windows, stride k; pixels that fill no window are left out.
//
// Letters: N images, H x W in, OH = H / k and OW = W / k out (rounded down), C channels. NHWC.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// Shape of the pooled x. Throws PreconditionError if x is no (N, H, W, C) or smaller than k x k.
inline Shape pool2d_shape(const Shape& x, Index k) {
  require(x.rank() == 4, "pool2d: x is ", x, ", expected (N, H, W, C)");
  require(k >= 1 && x[1] >= k && x[2] >= k, "pool2d: a window of ", k, " x ", k,
          " does not fit into x ", x);
  return {x[0], x[1] / k, x[2] / k, x[3]};
}

namespace detail {

/// Calls f(output pixel, first input pixel of its window) for every window; a task is a row.
template <class F>
void for_each_window(const Shape& x, Index k, const F& f) {
  const Index H = x[1], W = x[2], OH = H / k, OW = W / k;
  parallel_for(x[0] * OH, [&](Index row) {
    const Index first = (row / OH * H + row % OH * k) * W;
    for (Index ow = 0; ow < OW; ++ow) f(row * OW + ow, first + ow * k);
  });
}

/// Writes zeros where windows leave pixels out, for windows that cover their own pixels.
template <class T>
void clear_uncovered(Index k, View<T> dx) {
  if (dx.dim(1) % k != 0 || dx.dim(2) % k != 0) std::fill(dx.begin(), dx.end(), T(0));
}

}  // namespace detail

/// y = the largest value of each window.
template <class T>
void max_pool2d_forward(View<const T> x, Index k, View<T> y) {
  require_shape("max_pool2d: y", y.shape, pool2d_shape(x.shape, k));
  const Index C = x.dim(3), W = x.dim(2);
  const auto larger = [](const auto& a, const auto& b) { return simd::max(a, b); };
  detail::for_each_window(x.shape, k, [&](Index out, Index in) {
    std::copy_n(x.row(in), C, y.row(out));
    for (Index i = 1; i < k * k; ++i)
      simd::map(larger, C, y.row(out), y.row(out), x.row(in + i / k * W + i % k));
  });
}

/// With L = <dy, y>, writes dx: dy goes to the first largest value of each window.
template <class T>
void max_pool2d_backward(View<const T> dy, View<const T> x, View<const T> y, Index k, View<T> dx) {
  require_shape("max_pool2d_backward: dy", dy.shape, pool2d_shape(x.shape, k));
  require_shape("max_pool2d_backward: y", y.shape, dy.shape);
  require_shape("max_pool2d_backward: dx", dx.shape, x.shape);
  const Index C = x.dim(3), W = x.dim(2);
  detail::clear_uncovered<T>(k, dx);
  detail::for_each_window(x.shape, k, [&](Index out, Index in) {
    // What is left of dy after the pixels before goes to the first that equals the maximum.
    for (Index c = 0; c < C; c += simd::width<T>) {
      const Index valid = std::min(simd::width<T>, C - c);
      const simd::Pack<T> largest = simd::load_partial(y.row(out) + c, valid), zero(T(0));
      simd::Pack<T> left = simd::load_partial(dy.row(out) + c, valid);
      for (Index i = 0; i < k * k; ++i) {
        const Index at = in + i / k * W + i % k;
        const auto here = simd::load_partial(x.row(at) + c, valid) == largest;
        simd::store_partial(dx.row(at) + c, simd::select(here, left, zero), valid);
        left = simd::select(here, zero, left);
      }
    }
  });
}

/// y = the mean of each window.
template <class T>
void avg_pool2d_forward(View<const T> x, Index k, View<T> y) {
  require_shape("avg_pool2d: y", y.shape, pool2d_shape(x.shape, k));
  const Index C = x.dim(3), W = x.dim(2);
  const T factor = T(1) / static_cast<T>(k * k);
  const auto add_scaled = [=](const auto& sum, const auto& v) { return sum + v * factor; };
  detail::for_each_window(x.shape, k, [&](Index out, Index in) {
    std::fill_n(y.row(out), C, T(0));
    for (Index i = 0; i < k * k; ++i)
      simd::map(add_scaled, C, y.row(out), y.row(out), x.row(in + i / k * W + i % k));
  });
}

/// With L = <dy, y>, writes dx.
template <class T>
void avg_pool2d_backward(View<const T> dy, Index k, View<T> dx) {
  require_shape("avg_pool2d_backward: dy", dy.shape, pool2d_shape(dx.shape, k));
  const Index C = dx.dim(3), W = dx.dim(2);
  const T factor = T(1) / static_cast<T>(k * k);
  detail::clear_uncovered<T>(k, dx);
  detail::for_each_window(dx.shape, k, [&](Index out, Index in) {
    for (Index i = 0; i < k * k; ++i)
      simd::map([=](const auto& v) { return v * factor; }, C, dx.row(in + i / k * W + i % k),
                dy.row(out));
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
