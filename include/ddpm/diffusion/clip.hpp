// Clipping of the predicted x_0.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ddpm/core/elementwise.hpp"
#include "ddpm/diffusion/scheduler_config.hpp"

namespace ddpm::DDPM_ABI::detail {

/// Clips x to [-limit, limit] in place.
template <class T>
void clip(View<T> x, T limit) {
  const auto clipped = [=](const auto& v) {
    using P = std::decay_t<decltype(v)>;
    return simd::min(simd::max(v, P(-limit)), P(limit));
  };
  elementwise<T>(clipped, x, x);
}

/// Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, section 2.3), in place: each sample
/// is clipped to [-s, s] and divided by s, the given quantile of its |x|, or 1 if that is smaller.
/// The quantile lies between two values as in NumPy.
template <class T>
void dynamic_threshold(View<T> x, double quantile) {
  const Index N = x.dim(0), size = x.size() / N;
  parallel_for(N, [&](Index n) {
    T* sample = x.data + n * size;
    std::vector<T> magnitude(static_cast<std::size_t>(size));
    std::transform(sample, sample + size, magnitude.begin(), [](T v) { return std::abs(v); });
    const double place = quantile * static_cast<double>(size - 1);
    const auto below = static_cast<std::ptrdiff_t>(place);
    std::nth_element(magnitude.begin(), magnitude.begin() + below, magnitude.end());
    const T low = magnitude[static_cast<std::size_t>(below)];
    const T high =
        below + 1 < size ? *std::min_element(magnitude.begin() + below + 1, magnitude.end()) : low;
    const T part = static_cast<T>(place - static_cast<double>(below));
    const T limit = std::max(T(1), low + part * (high - low));
    for (Index i = 0; i < size; ++i) sample[i] = std::clamp(sample[i], -limit, limit) / limit;
  });
}

/// Clips a predicted x_0 in place, as the configuration says.
template <class T>
void clip_x_0(const SchedulerConfig& config, View<T> x_0) {
  if (config.thresholding)
    dynamic_threshold<T>(x_0, config.threshold_quantile);
  else if (config.clip_sample)
    clip<T>(x_0, T(1));
}

}  // namespace ddpm::DDPM_ABI::detail
