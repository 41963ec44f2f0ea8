// Group normalisation whose result only a convolution reads: written as a blocked map at once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "ddpm/kernels/conv/amx/blocked_map.hpp"
#include "ddpm/kernels/group_norm.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

// SiLU and its derivative, as exact as a result that is rounded can show.
struct CoarseSigmoid {
  simd::Pack<float> operator()(const simd::Pack<float>& x) const { return simd::coarse_sigmoid(x); }
};
struct CoarseSilu {
  simd::Pack<float> operator()(const simd::Pack<float>& x) const { return x * CoarseSigmoid()(x); }
};
using CoarseSiluBackward = SiluBackwardBy<CoarseSigmoid>;

/// Where group_norm_to() puts packs of 16 channels that lie in one block.
struct NormalisedMap {
  using Silu = CoarseSilu;

  const BlockedMap& map;
  Index width = map.layout().W;                         ///< pixels that follow each other
  Index stride = block_channels * map.layout().images;  ///< values

  std::uint16_t* at(Index n, Index pixel, Index channel) const {
    Bfloat16Pair* line = map.line(channel / block_channels, map.layout().line(n, pixel / width));
    return reinterpret_cast<std::uint16_t*>(line) + channel % block_channels;
  }
  template <class Strip>
  void put(const Strip&, std::uint16_t* place, const simd::Pack<float>& values,
           const simd::Pack<float>&) const {
    simd::store_rounded(place, values);
  }
};

/// The same; what the values were made from goes, rounded, to maps of the same positions, one for
/// each part of x.
struct NormalisedAndRounded : NormalisedMap {
  std::span<const BlockedMap> parts;

  struct Place {
    std::uint16_t *normalised, *rounded;

    void operator+=(Index values) {
      normalised += values;
      rounded += values;
    }
  };
  Place at(Index n, Index pixel, Index channel) const {
    const Index A = parts[0].blocks() * block_channels;
    const NormalisedMap part{channel < A ? parts[0] : parts[1]};
    return {NormalisedMap::at(n, pixel, channel),
            part.at(n, pixel, channel < A ? channel : channel - A)};
  }
  template <class Strip>
  void put(const Strip&, const Place& place, const simd::Pack<float>& values,
           const simd::Pack<float>& x) const {
    simd::store_rounded(place.normalised, values);
    simd::store_rounded(place.rounded, x);
  }
};

/// Where group_norm_gradients() takes dy from: a map of whole blocks. `past`, if it is not empty,
/// has for each part of x a map of the same positions, which is added to dx.
struct MapGradient {
  using SiluBackward = CoarseSiluBackward;
  static constexpr bool keeps_du = false;

  const BlockedMap& map;
  std::span<const BlockedMap> past = {};
  Index width = map.layout().W;  ///< pixels that follow each other

  template <int packs>
  struct Row {
    const Bfloat16Pair *first[packs], *past[packs];
    Index stride;

    template <class Strip>
    simd::Pack<float> load(const Strip&, Index pixel, int q) const {
      return simd::load_rounded(first[q] + pixel * stride);
    }
    template <class Strip>
    void prefetch(const Strip&, Index) const {}
    void add_past(Index pixel, int q, simd::Pack<float>& dx) const {
      if (past[q]) dx += simd::load_rounded(past[q] + pixel * stride);
    }
  };
  template <class Strip>
  auto row(const Strip& strip, Index n, Index pixel, Index channel) const {
    const PaddedLayout& at = map.layout();
    const Index line = at.line(n, pixel / width);
    const auto place = [&](const BlockedMap& of, Index c) {
      return of.line(c / block_channels, line) + c % block_channels / 2;
    };
    Row<Strip::packs> result{{}, {}, at.images * side};
    for (int q = 0; q < Strip::packs; ++q) {
      const Index c = channel + strip.first + q * side;
      result.first[q] = place(map, c);
      if (past.empty()) continue;
      const Index A = past[0].blocks() * block_channels;
      result.past[q] = c < A ? place(past[0], c) : place(past[1], c - A);
    }
    return result;
  }
};

/// True if every pack of such channels lies in one block, and so do the bands and parts.
inline bool can_normalise(Index A, Index B, Index groups) {
  const Index C = A + B, channels = kernels::detail::band_channels<float>(C, groups);
  return A % side == 0 && C % block_channels == 0 && (channels % side == 0 || channels == C);
}

/// group_norm_forward()'s y, rounded, for a convolution of window g. Each part of x is written too,
/// rounded, to `parts`, unless that is empty: maps of the same positions, of whole blocks.
inline BlockedMap normalised_map(const Window& g, const Joined<const float>& x,
                                 View<const float> gamma, View<const float> beta, float eps,
                                 Activation activation, GroupStats<float> stats,
                                 std::span<const BlockedMap> parts = {}) {
  const BlockedMap map(g, x.channels());
  const auto write = [&](const auto& to) {
    kernels::detail::group_norm_to(x, gamma, beta, eps, activation, to, stats);
  };
  if (parts.empty())
    write(NormalisedMap{map});
  else
    write(NormalisedAndRounded{{map}, parts});
  return map;
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
