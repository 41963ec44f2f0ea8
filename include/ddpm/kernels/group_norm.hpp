// Group normalisation, forward and backward (Wu & He 2018, arXiv:1803.08494, section 3), alone or
// fused with SiLU.
//
//   u = gamma_c * (x - mean) * rstd + beta_c,    rstd = 1 / sqrt(var + eps),    y = u or silu(u)
//
// mean and var (biased) are over the P * C/G values of one group of one image.
// Letters: N images, P pixels, C channels, G groups. NHWC: packs run over channels. A task is one
// image and a band of channels that holds whole groups.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <functional>

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/column_sums.hpp"
#include "ddpm/kernels/elementwise.hpp"

namespace ddpm::inline DDPM_ABI::kernels {

/// What follows the normalisation.
enum class Activation { none, silu };

/// What the backward pass needs from the forward pass; both (N, G).
template <class T>
struct GroupStats {
  View<T> mean;  ///< in units of x
  View<T> rstd;  ///< in units of 1/x
};

namespace detail {

inline void check_group_norm(const Shape& x, const Shape& gamma, const Shape& beta,
                             const Shape& mean, const Shape& rstd) {
  require(x.rank() == 4, "group_norm: x is ", x, ", expected (N, H, W, C)");
  require(mean.rank() == 2, "group_norm: mean is ", mean, ", expected (N, groups)");
  const Index G = mean[1];
  require(G > 0 && x[3] % G == 0, "group_norm: ", x[3], " channels do not split into ", G,
          " groups");
  require_shape("group_norm: gamma", gamma, {x[3]});
  require_shape("group_norm: beta", beta, {x[3]});
  require_shape("group_norm: mean", mean, {x[0], G});
  require_shape("group_norm: rstd", rstd, {x[0], G});
}

/// Cuts C channels into bands of whole groups, each about four cache lines wide; calls
/// f(image, first channel, channels) for each.
template <class T, class F>
void for_each_band(Index N, Index C, Index G, const F& f) {
  const Index size = C / G, wanted = Index(256 / sizeof(T));
  const Index groups = std::min(G, std::max<Index>(1, wanted / size));
  const Index bands = (G + groups - 1) / groups;
  parallel_for(N * bands, [&](Index task) {
    const Index first = task % bands * groups * size;
    f(task / bands, first, std::min(groups * size, C - first));
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
void band_moments(const T* x, Index stride, Index P, Index channels, Index size, T* mean,
                  T* variance) {
  simd::for_each_strip<T>(channels, [&](const auto& strip) {
    constexpr int packs = std::decay_t<decltype(strip)>::packs;
    simd::Pack<T> sum[packs];
    for (auto& s : sum) s = simd::Pack<T>(T(0));
    for (Index p = 0; p < P; ++p)
      for (int q = 0; q < packs; ++q) sum[q] += strip.load(x + p * stride, q);
    for (int q = 0; q < packs; ++q) strip.store(mean, q, sum[q]);
  });
  spread_group_means(size, T(size * P), channels, mean);
  simd::for_each_strip<T>(channels, [&](const auto& strip) {
    constexpr int packs = std::decay_t<decltype(strip)>::packs;
    simd::Pack<T> sum[packs], m[packs];
    for (int q = 0; q < packs; ++q) {
      sum[q] = simd::Pack<T>(T(0));
      m[q] = strip.load(mean, q);
    }
    for (Index p = 0; p < P; ++p)
      for (int q = 0; q < packs; ++q) {
        const simd::Pack<T> d = strip.load(x + p * stride, q) - m[q];
        sum[q] = simd::fma(d, d, sum[q]);
      }
    for (int q = 0; q < packs; ++q) strip.store(variance, q, sum[q]);
  });
  spread_group_means(size, T(size * P), channels, variance);
}

/// y = act((x - mean) * factor + shift) for the P pixels of a band.
template <class T, class Act>
void normalise_band(const T* x, T* y, Index stride, Index P, Index channels, const T* mean,
                    const T* factor, const T* shift, const Act& act) {
  simd::for_each_strip<T>(channels, [&](const auto& strip) {
    constexpr int packs = std::decay_t<decltype(strip)>::packs;
    simd::Pack<T> m[packs], a[packs], b[packs];
    for (int q = 0; q < packs; ++q) {
      m[q] = strip.load(mean, q);
      a[q] = strip.load(factor, q);
      b[q] = strip.load(shift, q);
    }
    for (Index p = 0; p < P; ++p)
      for (int q = 0; q < packs; ++q)
        strip.store(y + p * stride, q,
                    act(simd::fma(strip.load(x + p * stride, q) - m[q], a[q], b[q])));
  });
}

}  // namespace detail

/// Writes y and stats; the number of groups is read from stats.
///   x, y         (N, H, W, C); y may alias x
///   gamma, beta  (C)
///   eps          added to the variance, so in units of x^2; > 0
/// Throws PreconditionError if shapes disagree, eps <= 0 or the groups do not divide C.
template <class T>
void group_norm_forward(View<const T> x, View<const T> gamma, View<const T> beta, T eps,
                        Activation activation, View<T> y, GroupStats<T> stats) {
  detail::check_group_norm(x.shape, gamma.shape, beta.shape, stats.mean.shape, stats.rstd.shape);
  require_shape("group_norm: y", y.shape, x.shape);
  require(eps > 0, "group_norm: eps is ", eps, ", must be positive");

  const Index P = x.dim(1) * x.dim(2), C = x.dim(3), G = stats.mean.dim(1), size = C / G;
  detail::for_each_band<T>(x.dim(0), C, G, [&](Index n, Index first, Index channels) {
    Scratch<T> scratch(4 * channels);
    T *mean = scratch.data(), *variance = mean + channels;
    T *factor = variance + channels, *shift = factor + channels;
    const T* in = x.data + n * P * C + first;
    T* out = y.data + n * P * C + first;
    detail::band_moments(in, C, P, channels, size, mean, variance);
    for (Index c = 0; c < channels; ++c) {
      const T rstd = 1 / std::sqrt(variance[c] + eps);
      stats.mean.row(n)[(first + c) / size] = mean[c];
      stats.rstd.row(n)[(first + c) / size] = rstd;
      factor[c] = gamma[first + c] * rstd;
      shift[c] = beta[first + c];
    }
    if (activation == Activation::silu)
      detail::normalise_band(in, out, C, P, channels, mean, factor, shift, Silu());
    else
      detail::normalise_band(in, out, C, P, channels, mean, factor, shift, std::identity());
  });
}

namespace detail {

/// One band of the backward pass.
template <class T>
struct GroupNormBand {
  const T *dy, *x;  ///< first pixel
  Index P, stride, channels, size;
  const T *gamma, *beta, *mean, *rstd;  ///< a value a channel

  /// Writes du = dy act'(u) to `du` and sums du and du * xhat over pixels.
  /// act_backward(dy, u) gives du.
  template <class ActBackward>
  void sum_gradients(const ActBackward& act_backward, T* du, T* sum, T* sum_xhat) const {
    simd::for_each_strip<T>(channels, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> m[packs], r[packs], a[packs], b[packs], s[packs], s_xhat[packs];
      for (int q = 0; q < packs; ++q) {
        m[q] = strip.load(mean, q);
        r[q] = strip.load(rstd, q);
        a[q] = strip.load(gamma, q);
        b[q] = strip.load(beta, q);
        s[q] = s_xhat[q] = simd::Pack<T>(T(0));
      }
      for (Index p = 0; p < P; ++p)
        for (int q = 0; q < packs; ++q) {
          const simd::Pack<T> xhat = (strip.load(x + p * stride, q) - m[q]) * r[q];
          const simd::Pack<T> g =
              act_backward(strip.load(dy + p * stride, q), simd::fma(xhat, a[q], b[q]));
          s[q] += g;
          s_xhat[q] = simd::fma(g, xhat, s_xhat[q]);
          strip.store(du + p * stride, q, g);
        }
      for (int q = 0; q < packs; ++q) {
        strip.store(sum, q, s[q]);
        strip.store(sum_xhat, q, s_xhat[q]);
      }
    });
  }

  /// dx = rstd (gamma du - E[gamma du] - xhat E[gamma du xhat]), means over the group; in place.
  void finish(const T* sum, const T* sum_xhat, T* du) const {
    Scratch<T> scratch(3 * channels);
    T *m1 = scratch.data(), *m2 = m1 + channels, *factor = m2 + channels;
    for (Index c = 0; c < channels; ++c) {
      m1[c] = gamma[c] * sum[c];
      m2[c] = gamma[c] * sum_xhat[c];
      factor[c] = gamma[c] * rstd[c];
    }
    spread_group_means(size, T(size * P), channels, m1);
    spread_group_means(size, T(size * P), channels, m2);
    for (Index c = 0; c < channels; ++c) {
      m1[c] *= rstd[c];
      m2[c] *= rstd[c] * rstd[c];
    }
    simd::for_each_strip<T>(channels, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> m[packs], f[packs], mean1[packs], mean2[packs];
      for (int q = 0; q < packs; ++q) {
        m[q] = strip.load(mean, q);
        f[q] = strip.load(factor, q);
        mean1[q] = strip.load(m1, q);
        mean2[q] = strip.load(m2, q);
      }
      for (Index p = 0; p < P; ++p)
        for (int q = 0; q < packs; ++q) {
          const simd::Pack<T> d = strip.load(x + p * stride, q) - m[q];
          const simd::Pack<T> g = strip.load(du + p * stride, q);
          strip.store(du + p * stride, q, simd::fma(g, f[q], -simd::fma(d, mean2[q], mean1[q])));
        }
    });
  }
};

}  // namespace detail

/// With L = <dy, y>, writes dx, dgamma and dbeta; an empty view is not needed. stats are those that
/// the forward pass wrote.
template <class T>
void group_norm_backward(View<const T> dy, View<const T> x, View<const T> gamma, View<const T> beta,
                         Activation activation, GroupStats<const T> stats, View<T> dx,
                         View<T> dgamma, View<T> dbeta) {
  const Index N = x.dim(0), P = x.dim(1) * x.dim(2), C = x.dim(3), G = stats.mean.dim(1);
  const Index size = C / G;
  Scratch<T> sums(2 * N * C);  // of du, then of du xhat; (N, C) each
  Scratch<T> unwanted(dx.empty() ? x.size() : 0);
  T* out = dx.empty() ? unwanted.data() : dx.data;
  detail::for_each_band<T>(N, C, G, [&](Index n, Index first, Index channels) {
    Scratch<T> moments(2 * channels);
    T *mean = moments.data(), *rstd = mean + channels;
    for (Index c = 0; c < channels; ++c) {
      mean[c] = stats.mean.row(n)[(first + c) / size];
      rstd[c] = stats.rstd.row(n)[(first + c) / size];
    }
    const Index start = n * P * C + first;
    const detail::GroupNormBand<T> band{
        dy.data + start,    x.data + start,    P,    C,   channels, size,
        gamma.data + first, beta.data + first, mean, rstd};
    T *sum = sums.data() + n * C + first, *sum_xhat = sum + N * C;
    if (activation == Activation::silu)
      band.sum_gradients(SiluBackward(), out + start, sum, sum_xhat);
    else
      band.sum_gradients([](const auto& g, const auto&) { return g; }, out + start, sum, sum_xhat);
    if (!dx.empty()) band.finish(sum, sum_xhat, out + start);
  });
  if (!dbeta.empty()) column_sums<T>({sums.data(), {N, C}}, dbeta);
  if (!dgamma.empty()) column_sums<T>({sums.data() + N * C, {N, C}}, dgamma);
}

}  // namespace ddpm::inline DDPM_ABI::kernels
