// Group normalisation and SiLU from one blocked map to another, forward and backward; the maths are
// those of group_norm.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/amx/normalised_map.hpp"
#include "ddpm/kernels/dropout.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// True if a map of C channels is of whole blocks, and they of whole groups.
inline bool can_normalise_map(Index C, Index groups) {
  return groups >= 1 && C % block_channels == 0 && C % groups == 0 &&
         block_channels % (C / groups) == 0;
}

/// What normalise_map() needs beside the map. The statistics, (N, C), have a value a channel.
struct MapNorm {
  View<const float> gamma, beta;
  float eps;
  Index groups;
  View<float> mean, rstd;
};

/// One image and block of channels.
class BlockNorm {
 public:
  BlockNorm(const BlockedMap& map, const MapNorm& norm, Index task)
      : map_(map),
        norm_(norm),
        n_(task / map.blocks()),
        block_(task % map.blocks()),
        size_(map.blocks() * block_channels / norm.groups),
        values_(static_cast<float>(size_ * map.layout().H * map.layout().W)) {}

  /// Writes the statistics, and to = silu(norm(map)).
  void write(const BlockedMap& to) const {
    float *mean = of_image(norm_.mean), *rstd = of_image(norm_.rstd);
    float factor[block_channels], none[block_channels] = {};
    sum([](const P& x, const P&) { return x; }, none, mean);
    spread(mean);
    sum([](const P& x, const P& m) { return (x - m) * (x - m); }, mean, rstd);
    spread(rstd);
    for (Index c = 0; c < block_channels; ++c) {
      rstd[c] = 1 / std::sqrt(rstd[c] + norm_.eps);
      factor[c] = gamma()[c] * rstd[c];
    }
    for_each_row([&](Index h, Index half) {
      const Index c = half * side;
      const P m = simd::load(mean + c), a = simd::load(factor + c), b = simd::load(beta() + c);
      const Bfloat16Pair* from = row(map_, h, half);
      Bfloat16Pair* target = row(to, h, half);
      for (Index w = 0; w < map_.layout().W; ++w, from += next(), target += next())
        simd::store_rounded(target, CoarseSilu()(simd::fma(simd::load_rounded(from) - m, a, b)));
    });
  }

  /// From dy, a map of the same positions, and the statistics: dx as a map, and the sums over
  /// pixels of du, of du xhat, and of dx, all (N, C).
  void write_gradient(const BlockedMap& dy, const BlockedMap& dx, View<float> sums,
                      View<float> sums_xhat, View<float> sums_dx) const {
    float *sum_du = of_image(sums), *sum_xhat = of_image(sums_xhat), *sum_dx = of_image(sums_dx);
    std::fill_n(sum_du, block_channels, 0.0F);
    std::fill_n(sum_xhat, block_channels, 0.0F);
    std::fill_n(sum_dx, block_channels, 0.0F);
    for_each_row([&](Index h, Index half) { sum_du_of_row(dy, h, half, sum_du, sum_xhat); });
    float mean1[block_channels], mean2[block_channels];
    for (Index c = 0; c < block_channels; ++c) {
      mean1[c] = gamma()[c] * sum_du[c];
      mean2[c] = gamma()[c] * sum_xhat[c];
    }
    spread(mean1);
    spread(mean2);
    for_each_row([&](Index h, Index half) { write_dx(dy, dx, h, half, mean1, mean2, sum_dx); });
  }

 private:
  using P = simd::Pack<float>;

  const float* gamma() const { return norm_.gamma.data + block_ * block_channels; }
  const float* beta() const { return norm_.beta.data + block_ * block_channels; }
  float* of_image(const View<float>& values) const {
    return values.row(n_) + block_ * block_channels;
  }
  void spread(float* values) const {
    kernels::detail::spread_group_means(size_, values_, block_channels, values);
  }

  /// From a pixel to the next one of its row.
  Index next() const { return map_.layout().images * side; }
  /// The first pixel of a row, at a half of the block's channels.
  Bfloat16Pair* row(const BlockedMap& map, Index h, Index half) const {
    return map.line(block_, map.layout().line(n_, h)) + half * side / 2;
  }
  template <class F>
  void for_each_row(const F& f) const {
    for (Index h = 0; h < map_.layout().H; ++h)
      for (Index half = 0; half < 2; ++half) f(h, half);
  }

  /// sums[c] = term(x, given[c]) summed over pixels, row by row; see pixels_together.
  template <class F>
  void sum(const F& term, const float* given, float* sums) const {
    P total[2] = {P(0.0F), P(0.0F)};
    for_each_row([&](Index h, Index half) {
      const P g = simd::load(given + half * side);
      const Bfloat16Pair* line = row(map_, h, half);
      P of_row(0.0F);
      for (Index w = 0; w < map_.layout().W; ++w, line += next())
        of_row += term(simd::load_rounded(line), g);
      total[half] += of_row;
    });
    for (Index half = 0; half < 2; ++half) simd::store(sums + half * side, total[half]);
  }

  static void add(float* sums, const P& values) { simd::store(sums, simd::load(sums) + values); }

  /// What du and xhat of 16 channels need, and they.
  struct Channels {
    P mean, rstd, gamma, beta;

    P xhat(const Bfloat16Pair* x) const { return (simd::load_rounded(x) - mean) * rstd; }
    P du(const Bfloat16Pair* dy, const P& xhat) const {
      return CoarseSiluBackward()(simd::load_rounded(dy), simd::fma(xhat, gamma, beta));
    }
  };
  Channels channels(Index c) const {
    return {simd::load(of_image(norm_.mean) + c), simd::load(of_image(norm_.rstd) + c),
            simd::load(gamma() + c), simd::load(beta() + c)};
  }

  void sum_du_of_row(const BlockedMap& dy, Index h, Index half, float* sum_du,
                     float* sum_xhat) const {
    const Channels of = channels(half * side);
    P du_sum(0.0F), xhat_sum(0.0F);
    const Bfloat16Pair *x = row(map_, h, half), *from = row(dy, h, half);
    for (Index w = 0; w < map_.layout().W; ++w, x += next(), from += next()) {
      const P xhat = of.xhat(x), du = of.du(from, xhat);
      du_sum += du;
      xhat_sum = simd::fma(du, xhat, xhat_sum);
    }
    add(sum_du + half * side, du_sum);
    add(sum_xhat + half * side, xhat_sum);
  }

  /// dx = rstd (gamma du - mean1 - xhat mean2), and its sum. du is computed once more: that takes
  /// less time than to keep it, and rounds it less.
  void write_dx(const BlockedMap& dy, const BlockedMap& dx, Index h, Index half, const float* mean1,
                const float* mean2, float* sum_dx) const {
    const Index c = half * side;
    const Channels of = channels(c);
    const P m1 = simd::load(mean1 + c), m2 = simd::load(mean2 + c);
    P total(0.0F);
    const Bfloat16Pair *x = row(map_, h, half), *from = row(dy, h, half);
    Bfloat16Pair* to = row(dx, h, half);
    for (Index w = 0; w < map_.layout().W; ++w, x += next(), from += next(), to += next()) {
      const P xhat = of.xhat(x);
      const P value = of.rstd * (of.du(from, xhat) * of.gamma - simd::fma(xhat, m2, m1));
      total += value;
      simd::store_rounded(to, value);
    }
    add(sum_dx + c, total);
  }

  const BlockedMap& map_;
  const MapNorm& norm_;
  Index n_, block_, size_;
  float values_;  ///< of a group
};

/// to = silu(group_norm(map)), which may be the same map; see can_normalise_map().
inline void normalise_map(const BlockedMap& map, const MapNorm& norm, const BlockedMap& to) {
  parallel_for(map.layout().N * map.blocks(),
               [&](Index task) { BlockNorm(map, norm, task).write(to); });
}

/// The gradient of normalise_map(), of dy of the same positions; dx may be dy. Writes dgamma and
/// dbeta, which may be empty, and the sums of dx over pixels, (N, C).
inline void normalise_map_backward(const BlockedMap& map, const MapNorm& norm, const BlockedMap& dy,
                                   const BlockedMap& dx, View<float> dgamma, View<float> dbeta,
                                   View<float> sums_dx) {
  const Tensor<float> sums(sums_dx.shape), sums_xhat(sums_dx.shape);
  parallel_for(map.layout().N * map.blocks(), [&](Index task) {
    BlockNorm(map, norm, task).write_gradient(dy, dx, sums, sums_xhat, sums_dx);
  });
  if (!dbeta.empty()) column_sums<float>(sums, dbeta);
  if (!dgamma.empty()) column_sums<float>(sums_xhat, dgamma);
}

/// dropout() of a map of whole blocks, in place: it drops the values that it drops of floats.
inline void drop_from_map(const BlockedMap& map, double rate, const Rng& rng) {
  using Drop = DropoutMask<float>;
  const Drop drop(rate, rng);
  const PaddedLayout& at = map.layout();
  const Index C = map.blocks() * block_channels, pixels = at.H * at.W, size = at.N * pixels * C;
  parallel_for((size + Drop::values - 1) / Drop::values, [&](Index number) {
    float drawn[2][Drop::words];
    drop.draw(number, drawn);
    for (Index k = 0; k < Drop::values; k += block_channels) {
      const Index i = number * Drop::values + k, pixel = i / C;
      if (i >= size) return;
      const Index within = pixel % pixels;
      Bfloat16Pair* line = map.line(i % C / block_channels, at.line(pixel / pixels, within / at.W) +
                                                                within % at.W * at.images);
      const float* numbers = drawn[k / Drop::words] + k % Drop::words;
      for (Index half = 0; half < 2; ++half, line += side / 2, numbers += side)
        simd::store_rounded(line, drop(simd::load_rounded(line), simd::load(numbers)));
    }
  });
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
