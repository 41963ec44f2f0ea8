// Group normalisation, forward and backward (Wu & He 2018, arXiv:1803.08494, section 3), by itself
// or fused with SiLU.
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

namespace detail {

/// Where dy comes from: the maps dy (N, P, C).
template <class T>
struct DenseGradient {
  using SiluBackward = kernels::SiluBackward;
  static constexpr bool keeps_du = true;  ///< in the place of dx, rather than compute it twice

  const T* dy;
  Index width;  ///< pixels that follow each other: all P
  Index stride;

  struct Row {
    const T* first;
    Index stride;

    template <class Strip>
    simd::Pack<T> load(const Strip& strip, Index pixel, int q) const {
      return strip.load(first + pixel * stride, q);
    }
    template <class Strip>
    void prefetch(const Strip& strip, Index pixel) const {
      strip.prefetch(first + pixel * stride);
    }
    void add_past(Index, int, simd::Pack<T>&) const {}
  };
  /// From that pixel on; a strip's channels are counted from `channel` on.
  template <class Strip>
  Row row(const Strip&, Index n, Index pixel, Index channel) const {
    return {dy + (n * width + pixel) * stride + channel, stride};
  }
};

/// One segment of a band of image n in the backward pass. Statistics point to its first channel.
template <class T, class Gradient>
struct GroupNormSegment {
  const Gradient& dy;
  Index n, channel, P;
  Segment<const T> x;
  Segment<T> dx;                        ///< may hold du between the two steps
  const T* so_far;                      ///< laid out as dx, or null
  const T *gamma, *beta, *mean, *rstd;  ///< a value a channel

  /// Sums du = act_backward(dy, u) and du * xhat over pixels.
  template <class ActBackward>
  void sum_gradients(const ActBackward& act_backward, T* sum, T* sum_xhat) const {
    simd::for_each_strip<T>(x.count, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> m[packs], r[packs], a[packs], b[packs], s[packs], s_xhat[packs];
      for (int q = 0; q < packs; ++q) {
        m[q] = strip.load(mean, q);
        r[q] = strip.load(rstd, q);
        a[q] = strip.load(gamma, q);
        b[q] = strip.load(beta, q);
        s[q] = s_xhat[q] = simd::Pack<T>(T(0));
      }
      for_each_row_run(strip, [&](const auto& row, Index start, Index first, Index last) {
        simd::Pack<T> part[packs], part_xhat[packs];
        for (int q = 0; q < packs; ++q) part[q] = part_xhat[q] = simd::Pack<T>(T(0));
        for (Index p = first; p < last; ++p) {
          strip.prefetch(x.data + (start + p + pixels_ahead) * x.stride);
          row.prefetch(strip, p + pixels_ahead);
          for (int q = 0; q < packs; ++q) {
            const simd::Pack<T> xhat =
                (strip.load(x.data + (start + p) * x.stride, q) - m[q]) * r[q];
            const simd::Pack<T> g =
                act_backward(row.load(strip, p, q), simd::fma(xhat, a[q], b[q]));
            part[q] += g;
            part_xhat[q] = simd::fma(g, xhat, part_xhat[q]);
            if constexpr (Gradient::keeps_du) strip.store(dx.data + (start + p) * dx.stride, q, g);
          }
        }
        for (int q = 0; q < packs; ++q) {
          s[q] += part[q];
          s_xhat[q] += part_xhat[q];
        }
      });
      for (int q = 0; q < packs; ++q) {
        strip.store(sum, q, s[q]);
        strip.store(sum_xhat, q, s_xhat[q]);
      }
    });
  }

  /// dx = factor du - (x - mean) mean2 - mean1 + so_far + what comes with dy.
  template <class ActBackward>
  void finish(const ActBackward& act_backward, const T* factor, const T* mean1,
              const T* mean2) const {
    simd::for_each_strip<T>(x.count, [&](const auto& strip) {
      constexpr int packs = std::decay_t<decltype(strip)>::packs;
      simd::Pack<T> m[packs], f[packs], m1[packs], m2[packs], shift[packs];
      for (int q = 0; q < packs; ++q) {
        m[q] = strip.load(mean, q);
        f[q] = strip.load(factor, q);
        m1[q] = strip.load(mean1, q);
        m2[q] = strip.load(mean2, q);
        shift[q] = strip.load(beta, q);
      }
      for_each_row_run(strip, [&](const auto& row, Index start, Index first, Index last) {
        for (Index p = first; p < last; ++p) {
          T* at = dx.data + (start + p) * dx.stride;
          const T* added = so_far ? so_far + (start + p) * dx.stride : nullptr;
          if (added) strip.prefetch(added + pixels_ahead * dx.stride);
          for (int q = 0; q < packs; ++q) {
            const simd::Pack<T> d = strip.load(x.data + (start + p) * x.stride, q) - m[q];
            simd::Pack<T> du;
            if constexpr (Gradient::keeps_du)
              du = strip.load(at, q);
            else
              du = act_backward(row.load(strip, p, q), simd::fma(d, f[q], shift[q]));
            simd::Pack<T> value = simd::fma(du, f[q], -simd::fma(d, m2[q], m1[q]));
            if (added) value += strip.load(added, q);
            row.add_past(p, q, value);
            strip.store(at, q, value);
          }
        }
      });
    });
  }

 private:
  /// Calls f(row, the row's first pixel, first, last) for runs of pixels_together of a row.
  template <class Strip, class F>
  [[gnu::always_inline]] void for_each_row_run(const Strip& strip, const F& f) const {
    for (Index start = 0; start < P; start += dy.width) {
      const auto row = dy.row(strip, n, start, channel);
      for_each_run(dy.width, [&](Index first, Index last) { f(row, start, first, last); });
    }
  }
};

/// What a band's channels need for dx = rstd (gamma du - E[gamma du] - xhat E[gamma du xhat]),
/// means over the group, given the sums of du and du xhat over pixels.
template <class T>
void gradient_means(Index size, Index P, Index channels, const T* gamma, const T* rstd,
                    const T* sum, const T* sum_xhat, T* factor, T* mean1, T* mean2) {
  for (Index c = 0; c < channels; ++c) {
    mean1[c] = gamma[c] * sum[c];
    mean2[c] = gamma[c] * sum_xhat[c];
    factor[c] = gamma[c] * rstd[c];
  }
  spread_group_means(size, T(size * P), channels, mean1);
  spread_group_means(size, T(size * P), channels, mean2);
  for (Index c = 0; c < channels; ++c) {
    mean1[c] *= rstd[c];
    mean2[c] *= rstd[c] * rstd[c];
  }
}

/// group_norm_backward() of dy from there; shapes agree.
template <class T, class Gradient>
void group_norm_gradients(const Gradient& dy, const Joined<const T>& x, View<const T> gamma,
                          View<const T> beta, Activation activation, GroupStats<const T> stats,
                          const Joined<T>& dx, View<T> dgamma, View<T> dbeta,
                          const Joined<const T>& so_far) {
  const Index N = x.a.dim(0), P = x.a.dim(1) * x.a.dim(2), C = x.channels();
  const Index G = stats.mean.dim(1), size = C / G;
  Scratch<T> sums(2 * N * C);  // of du, then of du xhat; (N, C) each
  const auto wanted = [](const View<T>& d, const View<const T>& original, const Scratch<T>& spare) {
    return View<T>(d.empty() ? spare.data() : d.data, original.shape);
  };
  const Scratch<T> spare_a(dx.a.empty() ? x.a.size() : 0), spare_b(dx.b.empty() ? x.b.size() : 0);
  const Joined<T> du(wanted(dx.a, x.a, spare_a), wanted(dx.b, x.b, spare_b));
  for_each_band<T>(N, C, G, [&](Index n, Index first, Index channels) {
    Scratch<T> scratch(5 * channels);
    T *mean = scratch.data(), *rstd = mean + channels, *factor = rstd + channels;
    T *mean1 = factor + channels, *mean2 = mean1 + channels;
    for (Index c = 0; c < channels; ++c) {
      mean[c] = stats.mean.row(n)[(first + c) / size];
      rstd[c] = stats.rstd.row(n)[(first + c) / size];
    }
    const auto xs = band_segments(x, n, first, channels);
    const auto dus = band_segments(du, n, first, channels);
    T *sum = sums.data() + n * C + first, *sum_xhat = sum + N * C;
    const auto for_each_segment = [&](const auto& f) {
      for (std::size_t i = 0; i < xs.size(); ++i) {
        const Index at = xs[i].offset, c = first + at;
        const View<const T>& added = i == 0 ? so_far.a : so_far.b;
        const Index place = dus[i].data - (i == 0 ? du.a : du.b).data;
        const GroupNormSegment<T, Gradient> segment{dy,
                                                    n,
                                                    c,
                                                    P,
                                                    xs[i],
                                                    dus[i],
                                                    added.empty() ? nullptr : added.data + place,
                                                    gamma.data + c,
                                                    beta.data + c,
                                                    mean + at,
                                                    rstd + at};
        if (activation == Activation::silu)
          f(segment, typename Gradient::SiluBackward(), at);
        else
          f(
              segment, [](const auto& g, const auto&) { return g; }, at);
      }
    };
    for_each_segment([&](const auto& segment, const auto& act_backward, Index at) {
      segment.sum_gradients(act_backward, sum + at, sum_xhat + at);
    });
    if (dx.empty()) return;
    gradient_means(size, P, channels, gamma.data + first, rstd, sum, sum_xhat, factor, mean1,
                   mean2);
    for_each_segment([&](const auto& segment, const auto& act_backward, Index at) {
      segment.finish(act_backward, factor + at, mean1 + at, mean2 + at);
    });
  });
  if (!dbeta.empty()) column_sums<T>({sums.data(), {N, C}}, dbeta);
  if (!dgamma.empty()) column_sums<T>({sums.data() + N * C, {N, C}}, dgamma);
}

}  // namespace detail

/// With L = <dy, y>, writes dx (in the same parts as x), dgamma and dbeta; an empty view is not
/// needed. stats are those that the forward pass wrote. dx may alias dy where that is one tensor.
/// What is in so_far, in the same parts, is added to dx, which must not overlap it.
template <class T>
void group_norm_backward(View<const T> dy, const Joined<const T>& x, View<const T> gamma,
                         View<const T> beta, Activation activation, GroupStats<const T> stats,
                         const Joined<T>& dx, View<T> dgamma, View<T> dbeta,
                         const Joined<const T>& so_far = View<const T>()) {
  detail::check_group_norm(x.a.shape, x.b.shape, gamma.shape, beta.shape, stats.mean.shape,
                           stats.rstd.shape);
  require_shape("group_norm_backward: dy", dy.shape,
                {x.a.dim(0), x.a.dim(1), x.a.dim(2), x.channels()});
  require_shape_if_given("group_norm_backward: dx", dx.a, x.a.shape);
  require_shape_if_given("group_norm_backward: dx of the second part", dx.b, x.b.shape);
  require_shape_if_given("group_norm_backward: so_far", so_far.a, x.a.shape);
  require_shape_if_given("group_norm_backward: so_far of the second part", so_far.b, x.b.shape);
  require_shape_if_given("group_norm_backward: dgamma", dgamma, gamma.shape);
  require_shape_if_given("group_norm_backward: dbeta", dbeta, beta.shape);
  detail::group_norm_gradients<T>(
      detail::DenseGradient<T>{dy.data, dy.dim(1) * dy.dim(2), x.channels()}, x, gamma, beta,
      activation, stats, dx, dgamma, dbeta, so_far);
}

}  // namespace ddpm::DDPM_ABI::kernels
