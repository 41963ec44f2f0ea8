// Attention whose q, k and v only it reads, and whose result only a convolution reads: between
// blocked maps.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/amx_attention.hpp"
#include "ddpm/kernels/conv/amx/blocked_map.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// q, k, v and y of one image and head in maps (N, H, W, 3 C) and (N, H, W, C) of 1x1 windows, of
/// heads that are whole blocks of channels, or half ones.
class MapHeads {
 public:
  static bool possible(Index C, Index heads) {
    return C % block_channels == 0 && C % heads == 0 &&
           (C / heads % block_channels == 0 || C / heads == side);
  }

  MapHeads(const BlockedMap& qkv, const BlockedMap& y, Index heads, Index image, Index head)
      : qkv_(qkv),
        y_(y),
        C_(y.blocks() * block_channels),
        D_(C_ / heads),
        first_channel_(head * D_),
        first_line_(qkv.layout().line(image, 0)) {}

  Index tokens() const { return qkv_.layout().H * qkv_.layout().W; }
  Index width() const { return D_; }
  simd::PairPack channels(int part, Index token, Index step) const {
    const Bfloat16Pair* line = at(qkv_, part * C_ + step * block_channels, token);
    return D_ == side ? simd::load_half(line) : simd::load(line);
  }
  simd::PairPack value_pairs(Index token, Index tile) const {
    alignas(64) static constexpr Bfloat16Pair zeros[side] = {};
    const Index channel = 2 * C_ + tile * side, half = (first_channel_ + channel) / side % 2;
    if (tile * side >= D_) return simd::PairPack(0);
    const auto line = [&](Index t) {
      return t < tokens() ? at(qkv_, channel, t) - half * side / 2 : zeros;
    };
    return pair_lines(line(token), line(token + 1), half);
  }
  void write(Index token, Index tile, const simd::Pack<float>& values) const {
    simd::store_rounded(at(y_, tile * side, token), values);
  }

 private:
  /// The place of a head's channel in a token's line.
  Bfloat16Pair* at(const BlockedMap& map, Index channel, Index token) const {
    const Index c = first_channel_ + channel;
    return map.line(c / block_channels, first_line_ + token) + c % block_channels / 2;
  }

  const BlockedMap &qkv_, &y_;
  Index C_, D_, first_channel_, first_line_;
};

/// attention_forward() from map to map.
inline void attend(const BlockedMap& qkv, Index heads, const BlockedMap& y) {
  const Index D = y.blocks() * block_channels / heads;
  parallel_for(qkv.layout().N * heads, [&](Index i) {
    const MapHeads one(qkv, y, heads, i / heads, i % heads);
    Attention(one, 1 / std::sqrt(static_cast<float>(D))).write(nullptr);
  });
}

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
