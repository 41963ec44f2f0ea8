// The backward pass of group normalisation, see kernels/group_norm.hpp.
//
// With du = dL/du, xhat = (x - mean) rstd, and means over a group's pixels and channels:
//   dx = rstd (gamma du - E[gamma du] - xhat E[gamma du xhat])
//   dgamma = sum du xhat, dbeta = sum du
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/group_norm.hpp"

namespace ddpm::DDPM_ABI::kernels {

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
