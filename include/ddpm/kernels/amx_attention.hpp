// Attention of one image and head in bfloat16 on AMX; see attention.hpp.
//
// The scores of 32 queries are written by tiles, turned into softmax's terms in pairs, and
// multiplied by the values. Keys and values are rounded once; what pads them is zero. Where q, k
// and v are read from, and y written to, is the business of Heads: float matrices, or blocked maps.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/product/amx.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// 32 channels of a token, from channel 32 step on.
inline simd::PairPack channel_pairs(const Matrix<const float>& m, Index token, Index step) {
  const Index first = step * 2 * side;
  return simd::neighbour_pairs(m.row(token) + first, std::min(2 * side, m.columns - first));
}

/// Pairs of 16 values of two tokens, from channel 16 tile on; zeros behind the last token.
inline simd::PairPack token_pairs(const Matrix<const float>& m, Index token, Index tile) {
  const Index valid = std::clamp<Index>(m.columns - tile * side, 0, side);
  const auto row = [&](Index t) { return t < m.rows && valid ? m.row(t) + tile * side : nullptr; };
  return simd::pair_rows(row(token), row(token + 1), valid);
}

/// Tiles 0 to 3 = two tiles of rows by two of columns. A step further the rows lie `step` pairs
/// further, the columns a tile.
inline void multiply_four(const Bfloat16Pair* rows, long row_bytes, const Bfloat16Pair* below,
                          Index step, const Bfloat16Pair* columns, const Bfloat16Pair* beside,
                          Index steps) {
  constexpr Index tile_size = side * side;
  constexpr long tile_bytes = 64;
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they read
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (Index k = 0; k < steps; ++k) {
    _tile_loadd(4, rows + k * step, row_bytes);
    _tile_loadd(6, columns + k * tile_size, tile_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, beside + k * tile_size, tile_bytes);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, below + k * step, row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// Writes tiles 0 to 3, (32, 32), to rows that many bytes apart.
inline void store_four(float* to, long row_bytes) {
  float* below = to + side * row_bytes / static_cast<long>(sizeof(float));
  _tile_stored(0, to, row_bytes);
  _tile_stored(1, to + side, row_bytes);
  _tile_stored(2, below, row_bytes);
  _tile_stored(3, below + side, row_bytes);
  asm volatile("" ::: "memory");  // the intrinsics do not tell the compiler that they write
}

/// q, k, v and y of one image and head as float matrices (P, D).
struct FloatHeads {
  Matrix<const float> qkv[3];
  Matrix<float> y;

  Index tokens() const { return y.rows; }
  Index width() const { return y.columns; }
  /// 32 channels of a token, from channel 32 step on; part 0, 1, 2 is q, k, v.
  simd::PairPack channels(int part, Index token, Index step) const {
    return channel_pairs(qkv[part], token, step);
  }
  /// Pairs of 16 values of two tokens, from channel 16 tile on.
  simd::PairPack value_pairs(Index token, Index tile) const {
    return token_pairs(qkv[2], token, tile);
  }
  /// 16 channels of a token's result.
  void write(Index token, Index tile, const simd::Pack<float>& values) const {
    simd::store_partial(y.row(token) + tile * side, values, std::min(side, width() - tile * side));
  }
};

/// y = softmax(scale q k^T) v.
template <class Heads>
class Attention {
 public:
  Attention(const Heads& heads, float scale)
      : heads_(heads),
        P_(heads.tokens()),
        D_(heads.width()),
        padded_((P_ + group - 1) / group * group),
        steps_((D_ + 2 * side - 1) / (2 * side)),
        tiles_((D_ + group - 1) / group * 2),
        scale_(scale),
        keys_(padded_ * steps_ * side),
        values_(padded_ / 2 * tiles_ * side) {
    for (Index tile = 0; tile < padded_ / side; ++tile) pack_keys(tile);
    for (Index step = 0; step < padded_ / group; ++step) pack_values(step);
  }

  /// Writes y, and the largest score and 1 / sum of each row to scales (P, 2), which may be null.
  void write(float* scales) const {
    constexpr Index groups_together = 4;
    const Index groups = padded_ / group;
    parallel_for((groups + groups_together - 1) / groups_together, [&](Index task) {
      const Tiles tiles;
      Scratch<float> scores(group * padded_);
      Scratch<Bfloat16Pair> terms(group * padded_ / 2), queries(group * steps_ * side);
      for (Index i = task * groups_together; i < std::min(groups, (task + 1) * groups_together);
           ++i) {
        const Index first = i * group, count = std::min(group, P_ - first);
        pack_queries(first, count, queries.data());
        multiply_keys(queries.data(), scores.data());
        float factors[group];
        for (Index r = 0; r < count; ++r)
          factors[r] = soften(scores.data() + r * padded_, terms.data() + r * padded_ / 2,
                              scales ? scales + 2 * (first + r) : nullptr);
        multiply_values(terms.data(), first, count, factors);
      }
    });
  }

 private:
  static constexpr Index tile_size = side * side;
  static constexpr long tile_bytes = 64;

  /// Keys [16 tile, ...) as the right factor: (steps, 16 pairs of D, 16 keys).
  void pack_keys(Index tile) const {
    alignas(64) Bfloat16Pair rows[tile_size] = {};
    for (Index step = 0; step < steps_; ++step) {
      for (Index r = 0; r < std::clamp<Index>(P_ - tile * side, 0, side); ++r)
        simd::store(rows + r * side, heads_.channels(1, tile * side + r, step));
      simd::transpose(rows, side, keys_.data() + (tile * steps_ + step) * tile_size, side);
    }
  }

  /// Values [32 step, ...) as the right factor: (tiles, steps, 16 pairs of keys, 16 of D).
  void pack_values(Index step) const {
    for (Index tile = 0; tile < tiles_; ++tile)
      for (Index pair = 0; pair < side; ++pair)
        simd::store(values_.data() + (tile * padded_ / group + step) * tile_size + pair * side,
                    heads_.value_pairs(step * group + 2 * pair, tile));
  }

  /// As the left factor: (steps, 32 queries, 16 pairs of D).
  void pack_queries(Index first, Index count, Bfloat16Pair* to) const {
    for (Index step = 0; step < steps_; ++step)
      for (Index r = 0; r < group; ++r, to += side)
        simd::store(to, r < count ? heads_.channels(0, first + r, step) : simd::PairPack(0));
  }

  /// scores (32, padded P).
  void multiply_keys(const Bfloat16Pair* queries, float* scores) const {
    for (Index tile = 0; tile < padded_ / side; tile += 2) {
      const Bfloat16Pair* keys = keys_.data() + tile * steps_ * tile_size;
      multiply_four(queries, tile_bytes, queries + tile_size, 2 * tile_size, keys,
                    keys + steps_ * tile_size, steps_);
      store_four(scores + tile * side, 4 * padded_);
    }
  }

  /// Rounds a row's terms exp(scale (score - largest)); returns 1 / their sum.
  float soften(const float* scores, Bfloat16Pair* terms, float* kept) const {
    using P = simd::Pack<float>;
    const float largest = simd::largest(P_, scores), factor = scale_ * std::numbers::log2e_v<float>;
    const auto term = [&](Index i, Index valid) {
      const P value = simd::coarse_exp2((simd::load(scores + i) - P(largest)) * P(factor));
      return valid >= side ? value : simd::first_values(value, std::max<Index>(valid, 0));
    };
    P total(0.0F);
    for (Index i = 0; i < padded_; i += 2 * side) {
      const P low = term(i, P_ - i), high = term(i + side, P_ - i - side);
      total += low + high;
      simd::store(terms + i / 2, simd::neighbour_pairs(low, high));
    }
    const float inverse = 1 / simd::reduce_add(total);
    if (kept) kept[0] = largest, kept[1] = inverse;
    return inverse;
  }

  void multiply_values(const Bfloat16Pair* terms, Index first, Index count,
                       const float* factors) const {
    alignas(64) float sums[4 * tile_size];
    const Index steps = padded_ / group;
    for (Index tile = 0; tile < tiles_; tile += 2) {
      const Bfloat16Pair* values = values_.data() + tile * steps * tile_size;
      multiply_four(terms, 2 * padded_, terms + side * padded_ / 2, side, values,
                    values + steps * tile_size, steps);
      store_four(sums, 2 * tile_bytes);
      for (Index r = 0; r < count; ++r)
        for (Index half = 0; half < 2 && (tile + half) * side < D_; ++half)
          heads_.write(first + r, tile + half,
                       simd::load(sums + r * group + half * side) * simd::Pack<float>(factors[r]));
    }
  }

  const Heads& heads_;
  Index P_, D_, padded_, steps_, tiles_;
  float scale_;
  Scratch<Bfloat16Pair> keys_, values_;
};

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
