// Group normalisation (Wu & He 2018, arXiv:1803.08494, section 3), by itself or fused with SiLU;
// kernels/group_norm_gradient.hpp is its backward pass.
//
//   u = gamma_c * (x - mean) * rstd + beta_c,    rstd = 1 / sqrt(var + eps),    y = u or silu(u)
//
// mean and var (biased) are over the P * C/G values of one group of one image.
// Letters: N images, P pixels, C channels, G groups. NHWC: packs run over channels. A task is one
// image and a band of channels that holds whole groups. The channels may lie in two tensors, so
// that a skip connection needs no copy.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/elementwise.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// What follows the normalisation.
enum class Activation { none, silu };

/// What the backward pass needs from the forward pass; both (N, G).
template <class T>
struct GroupStats {
  View<T> mean;  ///< in units of x
  View<T> rstd;  ///< in units of 1/x
};

/// Channels [a | b] of the same maps (N, H, W, A) and (N, H, W, B); b may be empty.
template <class T>
struct Joined {
  View<T> a, b;

  Joined(const View<T>& first, const View<T>& second = {}) : a(first), b(second) {}
  Joined(const Tensor<std::remove_const_t<T>>& first,
         const Tensor<std::remove_const_t<T>>& second = {})
      : a(first), b(second) {}
  operator Joined<const T>() const requires(!std::is_const_v<T>) { return {a, b}; }

  bool empty() const { return a.empty() && b.empty(); }
  Index channels() const { return a.shape.back() + (b.shape.rank() == 0 ? 0 : b.shape.back()); }
};

namespace detail {

inline void check_group_norm(const Shape& a, const Shape& b, const Shape& gamma, const Shape& beta,
                             const Shape& mean, const Shape& rstd) {
  require(a.rank() == 4, "group_norm: x is ", a, ", expected (N, H, W, C)");
  require(b.rank() == 0 || (b.rank() == 4 && a[0] == b[0] && a[1] == b[1] && a[2] == b[2]),
          "group_norm: x is ", a, " and ", b, ", expected (N, H, W, A) and (N, H, W, B)");
  require(mean.rank() == 2, "group_norm: mean is ", mean, ", expected (N, groups)");
  const Index G = mean[1], C = a[3] + (b.rank() == 0 ? 0 : b[3]);
  require(G > 0 && C % G == 0, "group_norm: ", C, " channels do not split into ", G, " groups");
  require_shape("group_norm: gamma", gamma, {C});
  require_shape("group_norm: beta", beta, {C});
  require_shape("group_norm: mean", mean, {a[0], G});
  require_shape("group_norm: rstd", rstd, {a[0], G});
}

/// Sums over pixels are sums of sums over so many: a rounding error then grows with the root of
/// some hundred additions, not of all of them.
inline constexpr Index pixels_together = 32;

/// Calls f(first, last) for runs of pixels_together of P pixels.
template <class F>
[[gnu::always_inline]] inline void for_each_run(Index P, const F& f) {
  for (Index first = 0; first < P; first += pixels_together)
    f(first, std::min(P, first + pixels_together));
}

/// So many pixels ahead the first pass over a band prefetches its values, which come from memory.
inline constexpr Index pixels_ahead = 16;

/// Some channels of one image in one tensor: `count` of them from the band's channel `offset` on.
template <class T>
struct Segment {
  T* data;  ///< first pixel
  Index stride, offset, count;
};

/// A band's channels [first, first + channels) of image n: a part in each tensor, maybe of none.
template <class T>
std::array<Segment<T>, 2> band_segments(const Joined<T>& x, Index n, Index first, Index channels) {
  const Index A = x.a.shape.back(), P = x.a.dim(1) * x.a.dim(2), B = x.channels() - A;
  const Index in_a = std::clamp<Index>(A - first, 0, channels),
              start_b = std::max<Index>(first - A, 0);
  return {Segment<T>{x.a.data + n * P * A + first, A, 0, in_a},
          Segment<T>{x.b.data + n * P * B + start_b, B, in_a, channels - in_a}};
}

/// Channels of a band: whole groups, about four cache lines, and whole lines if there are groups
/// enough.
template <class T>
Index band_channels(Index C, Index G) {
  constexpr Index line = 64 / Index{sizeof(T)};
  const Index size = C / G, step = line / std::gcd(line, size);
  const Index wanted = std::max<Index>(1, 4 * line / size);
  return size * std::min(G, (wanted + step - 1) / step * step);
}

/// Cuts C channels into bands; calls f(image, first channel, channels) for each.
template <class T, class F>
void for_each_band(Index N, Index C, Index G, const F& f) {
  const Index channels = band_channels<T>(C, G), bands = (C + channels - 1) / channels;
  parallel_for(N * bands, [&](Index task) {
    const Index first = task % bands * channels;
    f(task / bands, first, std::min(channels, C - first));
  });
}

/// Replaces each group's values by their sum over the group, divided by `divisor`.
template <class T>
void spread_group_means(Index size, T divisor, Index channels, T* values) {
  for (Index first = 0; first < channels; first += size) {
    T sum = 0;
    for (Index c = first; c < first + size; ++c) sum += values[c];
    std::fill_n(values + first, size, sum / divisor);
  }
}

/// One band's mean and variance, spread over its channels. Two passes: E[x^2] - E[x]^2 cancels
/// badly in float when |mean| >> std.
template <class T>
void band_moments(const std::array<Segment<const T>, 2>& segments, Index P, Index channels,
                  Index size, T* mean, T* variance) {
  for (const auto& x : segments)
    simd::for_each_strip<T>(x.count, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> sum[packs];
      for (auto& s : sum) s = simd::Pack<T>(T(0));
      for_each_run(P, [&](Index first, Index last) {
        simd::Pack<T> part[packs];
        for (auto& s : part) s = simd::Pack<T>(T(0));
        for (Index p = first; p < last; ++p) {
          strip.prefetch(x.data + (p + pixels_ahead) * x.stride);
          for (int q = 0; q < packs; ++q) part[q] += strip.load(x.data + p * x.stride, q);
        }
        for (int q = 0; q < packs; ++q) sum[q] += part[q];
      });
      for (int q = 0; q < packs; ++q) strip.store(mean + x.offset, q, sum[q]);
    });
  spread_group_means(size, T(size * P), channels, mean);
  for (const auto& x : segments)
    simd::for_each_strip<T>(x.count, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> sum[packs], m[packs];
      for (int q = 0; q < packs; ++q) {
        sum[q] = simd::Pack<T>(T(0));
        m[q] = strip.load(mean + x.offset, q);
      }
      for_each_run(P, [&](Index first, Index last) {
        simd::Pack<T> part[packs];
        for (auto& s : part) s = simd::Pack<T>(T(0));
        for (Index p = first; p < last; ++p)
          for (int q = 0; q < packs; ++q) {
            const simd::Pack<T> d = strip.load(x.data + p * x.stride, q) - m[q];
            part[q] = simd::fma(d, d, part[q]);
          }
        for (int q = 0; q < packs; ++q) sum[q] += part[q];
      });
      for (int q = 0; q < packs; ++q) strip.store(variance + x.offset, q, sum[q]);
    });
  spread_group_means(size, T(size * P), channels, variance);
}

/// Where normalised values go: the maps y (N, P, C). What they were made from goes nowhere.
template <class T>
struct DenseMaps {
  using Silu = kernels::Silu;

  T* y;
  Index width;  ///< pixels that follow each other: all P
  Index stride;

  T* at(Index n, Index pixel, Index channel) const {
    return y + (n * width + pixel) * stride + channel;
  }
  template <class Strip>
  void put(const Strip& strip, T* place, const simd::Pack<T>& values, const simd::Pack<T>&) const {
    strip.put(place, values);
  }
};

/// to = act((x - mean) * factor + shift) for the P pixels of a segment of image n, whose first
/// channel is `channel`; mean, factor and shift point to its own.
template <class T, class Maps, class Act>
void normalise_segment(const Segment<const T>& x, const Maps& to, Index n, Index channel, Index P,
                       const T* mean, const T* factor, const T* shift, const Act& act) {
  simd::for_each_strip<T>(x.count, [&](const auto& strip) {
    constexpr int packs = std::decay_t<decltype(strip)>::packs;
    simd::Pack<T> m[packs], a[packs], b[packs];
    for (int q = 0; q < packs; ++q) {
      m[q] = strip.load(mean, q);
      a[q] = strip.load(factor, q);
      b[q] = strip.load(shift, q);
    }
    for (Index first = 0; first < P; first += to.width) {
      decltype(to.at(0, 0, 0)) place[packs];
      for (int q = 0; q < packs; ++q)
        place[q] = to.at(n, first, channel + strip.first + q * simd::width<T>);
      for (Index p = first; p < first + to.width; ++p)
        for (int q = 0; q < packs; ++q, place[q - 1] += to.stride) {
          const simd::Pack<T> value = strip.load(x.data + p * x.stride, q);
          to.put(strip, place[q], act(simd::fma(value - m[q], a[q], b[q])), value);
        }
    }
  });
}

/// group_norm_forward(), to `to`.
template <class T, class Maps>
void group_norm_to(const Joined<const T>& x, View<const T> gamma, View<const T> beta, T eps,
                   Activation activation, const Maps& to, GroupStats<T> stats) {
  check_group_norm(x.a.shape, x.b.shape, gamma.shape, beta.shape, stats.mean.shape,
                   stats.rstd.shape);
  require(eps > 0, "group_norm: eps is ", eps, ", must be positive");
  const Index N = x.a.dim(0), P = x.a.dim(1) * x.a.dim(2), C = x.channels();
  const Index G = stats.mean.dim(1), size = C / G;
  for_each_band<T>(N, C, G, [&](Index n, Index first, Index channels) {
    Scratch<T> scratch(4 * channels);
    T *mean = scratch.data(), *variance = mean + channels;
    T *factor = variance + channels, *shift = factor + channels;
    const auto segments = band_segments(x, n, first, channels);
    band_moments(segments, P, channels, size, mean, variance);
    for (Index c = 0; c < channels; ++c) {
      const T rstd = 1 / std::sqrt(variance[c] + eps);
      stats.mean.row(n)[(first + c) / size] = mean[c];
      stats.rstd.row(n)[(first + c) / size] = rstd;
      factor[c] = gamma[first + c] * rstd;
      shift[c] = beta[first + c];
    }
    for (const auto& part : segments) {
      const auto run = [&](const auto& act) {
        normalise_segment(part, to, n, first + part.offset, P, mean + part.offset,
                          factor + part.offset, shift + part.offset, act);
      };
      activation == Activation::silu ? run(typename Maps::Silu()) : run(std::identity());
    }
  });
}

}  // namespace detail

/// Writes y and stats; the number of groups is read from stats.
///   x            (N, H, W, C), or its channels in two parts
///   y            (N, H, W, C); may alias x where that is one tensor
///   gamma, beta  (C)
///   eps          added to the variance, so in units of x^2; > 0
/// Throws PreconditionError if shapes disagree, eps <= 0 or the groups do not divide C.
template <class T>
void group_norm_forward(const Joined<const T>& x, View<const T> gamma, View<const T> beta, T eps,
                        Activation activation, View<T> y, GroupStats<T> stats) {
  const Shape& s = x.a.shape;
  require(s.rank() == 4, "group_norm: x is ", s, ", expected (N, H, W, C)");
  require_shape("group_norm: y", y.shape, {s[0], s[1], s[2], x.channels()});
  detail::group_norm_to(x, gamma, beta, eps, activation,
                        detail::DenseMaps<T>{y.data, s[1] * s[2], x.channels()}, stats);
}

}  // namespace ddpm::DDPM_ABI::kernels
