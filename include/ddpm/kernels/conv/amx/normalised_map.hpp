// Group normalisation whose result only a convolution reads: written as a blocked map at once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/conv/amx/blocked_map.hpp"
#include "ddpm/kernels/group_norm.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// As exact as its result, which is rounded, can show.
struct CoarseSilu {
  simd::Pack<float> operator()(const simd::Pack<float>& x) const {
    return x * simd::coarse_sigmoid(x);
  }
};

/// Where group_norm_to() puts packs of 16 channels that lie in one block.
struct NormalisedMap {
  using Silu = CoarseSilu;

  const BlockedMap& map;
  Index width = map.layout().W;                    ///< pixels that follow each other
  static constexpr Index stride = block_channels;  ///< values

  std::uint16_t* at(Index n, Index pixel, Index channel) const {
    Bfloat16Pair* line = map.line(channel / block_channels, map.layout().line(n, pixel / width));
    return reinterpret_cast<std::uint16_t*>(line) + channel % block_channels;
  }
  template <class Strip>
  void put(const Strip&, std::uint16_t* place, const simd::Pack<float>& values) const {
    simd::store_rounded(place, values);
  }
};

/// True if every pack of such channels lies in one block, and so do the bands and parts.
inline bool can_normalise(Index A, Index B, Index groups) {
  const Index C = A + B, channels = kernels::detail::band_channels<float>(C, groups);
  return A % side == 0 && C % block_channels == 0 && (channels % side == 0 || channels == C);
}

/// group_norm_forward()'s y, rounded, for a convolution of window g.
inline BlockedMap normalised_map(const Window& g, const Joined<const float>& x,
                                 View<const float> gamma, View<const float> beta, float eps,
                                 Activation activation, GroupStats<float> stats) {
  const BlockedMap map(g, x.channels());
  kernels::detail::group_norm_to(x, gamma, beta, eps, activation, NormalisedMap{map}, stats);
  return map;
}

/// True if a map of C channels is of whole blocks, and they of whole groups.
inline bool can_normalise_map(Index C, Index groups) {
  return groups >= 1 && C % block_channels == 0 && C % groups == 0 &&
         block_channels % (C / groups) == 0;
}

/// One image and block of normalise_map().
class BlockNorm {
 public:
  BlockNorm(const BlockedMap& map, Index n, Index block) : map_(map), n_(n), block_(block) {}

  /// gamma and beta are those of the block's channels, in groups of `size`.
  void write(const float* gamma, const float* beta, float eps, Index size) const {
    using kernels::detail::spread_group_means;
    const float values = static_cast<float>(size * map_.layout().H * map_.layout().W);
    float mean[block_channels] = {}, factor[block_channels] = {};
    sum([](const P& x, const P&) { return x; }, mean, mean);
    spread_group_means(size, values, block_channels, mean);
    sum([](const P& x, const P& m) { return (x - m) * (x - m); }, mean, factor);
    spread_group_means(size, values, block_channels, factor);
    for (Index c = 0; c < block_channels; ++c) factor[c] = gamma[c] / std::sqrt(factor[c] + eps);
    for_each_row([&](Bfloat16Pair* line, Index half) {
      const Index c = half * side;
      const P m = simd::load(mean + c), a = simd::load(factor + c), b = simd::load(beta + c);
      for (Index w = 0; w < map_.layout().W; ++w, line += side)
        simd::store_rounded(line, CoarseSilu()(simd::fma(simd::load_rounded(line) - m, a, b)));
    });
  }

 private:
  using P = simd::Pack<float>;

  /// Calls f(first pixel, half) for the two halves of the channels of each row of pixels.
  template <class F>
  void for_each_row(const F& f) const {
    for (Index h = 0; h < map_.layout().H; ++h)
      for (Index half = 0; half < 2; ++half)
        f(map_.line(block_, map_.layout().line(n_, h)) + half * side / 2, half);
  }

  /// sums[c] += term(x, given[c]) over pixels: sums of the sums of rows, see pixels_together.
  template <class F>
  void sum(const F& term, const float* given, float* sums) const {
    float total[block_channels] = {};
    for_each_row([&](const Bfloat16Pair* line, Index half) {
      const P g = simd::load(given + half * side);
      P row(0.0F);
      for (Index w = 0; w < map_.layout().W; ++w, line += side)
        row += term(simd::load_rounded(line), g);
      simd::store(total + half * side, simd::load(total + half * side) + row);
    });
    std::copy_n(total, block_channels, sums);
  }

  const BlockedMap& map_;
  Index n_, block_;
};

/// map = silu(group_norm(map)), in place; see can_normalise_map().
inline void normalise_map(const BlockedMap& map, View<const float> gamma, View<const float> beta,
                          float eps, Index groups) {
  const Index blocks = map.blocks(), size = blocks * block_channels / groups;
  parallel_for(map.layout().N * blocks, [&](Index task) {
    const Index block = task % blocks, first = block * block_channels;
    BlockNorm(map, task / blocks, block).write(gamma.data + first, beta.data + first, eps, size);
  });
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
