// The gradients of attention of one image and head in bfloat16 on AMX; see attention.hpp.
//
//   dv = p^T dy,   ds = p (dy v^T - sum_j p dp) / sqrt(D),   dq = ds k,   dk = ds^T q
//
// Softmax is computed once more, for 32 queries at a time. Its terms and ds wait as pairs of
// queries until there are enough of them for products of some length; dv and dk come out turned.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/kernels/amx_attention.hpp"

#ifdef DDPM_AMX

namespace ddpm::DDPM_ABI::kernels::amx {

/// The matrices (P, D) of an image and head.
struct GradientHeads {
  Matrix<const float> q, k, v, dy;
  const float* scales;  ///< (P, 2), as Attention::write() gives them
  Matrix<float> dq, dk, dv;
};

class AttentionGradient {
 public:
  AttentionGradient(const GradientHeads& heads, float scale)
      : heads_(heads),
        P_(heads.q.rows),
        D_(heads.q.columns),
        padded_((P_ + group - 1) / group * group),
        steps_((D_ + group - 1) / group),
        scale_(scale),
        keys_(packed_size()),
        values_(packed_size()),
        key_pairs_(packed_size()),
        turned_q_(packed_size()),
        turned_dy_(packed_size()) {
    pack_columns(heads.k, keys_.data());
    pack_columns(heads.v, values_.data());
    pack_tokens(heads.k, false, key_pairs_.data());
    pack_tokens(heads.q, true, turned_q_.data());
    pack_tokens(heads.dy, true, turned_dy_.data());
  }

  /// Writes dq, dk and dv.
  void write() const {
    constexpr Index terms = Index{1} << 17;  // that wait at once
    const Index groups = padded_ / group, most = std::max<Index>(1, terms / (padded_ * group));
    const Tiles tiles;
    const Index pairs = std::min(most, groups) * group * padded_ / 2;
    const Scratch<Bfloat16Pair> p(pairs), ds(pairs);
    for (Index first = 0; first < groups; first += most) {
      const Index count = std::min(most, groups - first);
      for (Index i = 0; i < count; ++i)
        add_queries((first + i) * group,
                    {p.data() + i * tile_size, ds.data() + i * tile_size, count * tile_size});
      add_turned(turned_dy_.data(), p.data(), first, count, heads_.dv);
      add_turned(turned_q_.data(), ds.data(), first, count, heads_.dk);
    }
  }

 private:
  using P = simd::Pack<float>;
  static constexpr Index tile_size = side * side;
  static constexpr long tile_bytes = 64;

  /// Where the pairs of 32 queries go: for each 16 keys a tile, `next` further on.
  struct Waiting {
    Bfloat16Pair *p, *ds;
    Index next;
  };

  Index packed_size() const { return padded_ * steps_ * side; }

  /// As the right factor of q k^T: (16 tokens, steps, 16 pairs of D, 16 tokens).
  void pack_columns(const Matrix<const float>& m, Bfloat16Pair* to) const {
    for (Index tile = 0; tile < padded_ / side; ++tile) {
      alignas(64) Bfloat16Pair rows[tile_size] = {};
      for (Index step = 0; step < steps_; ++step, to += tile_size) {
        for (Index r = 0; r < std::clamp<Index>(P_ - tile * side, 0, side); ++r)
          simd::store(rows + r * side, channel_pairs(m, tile * side + r, step));
        simd::transpose(rows, side, to, side);
      }
    }
  }

  /// As the right factor of ds k: (16 of D, 32 tokens, 16 pairs of tokens, 16 of D); turned as the
  /// left factor of dy^T p: (16 of D, 32 tokens, 16 of D, 16 pairs of tokens).
  void pack_tokens(const Matrix<const float>& m, bool turned, Bfloat16Pair* to) const {
    alignas(64) Bfloat16Pair pairs[tile_size];
    for (Index tile = 0; tile < 2 * steps_; ++tile)
      for (Index first = 0; first < padded_; first += group, to += tile_size) {
        Bfloat16Pair* place = turned ? pairs : to;
        for (Index i = 0; i < side; ++i)
          simd::store(place + i * side, token_pairs(m, first + 2 * i, tile));
        if (turned) simd::transpose(pairs, side, to, side);
      }
  }

  /// sums (32, padded P) = 32 rows of m, from `first` on, times columns.
  void multiply_rows(const Matrix<const float>& m, Index first, const Bfloat16Pair* columns,
                     float* sums) const {
    const Scratch<Bfloat16Pair> rows(group * steps_ * side);
    Bfloat16Pair* to = rows.data();
    for (Index step = 0; step < steps_; ++step)
      for (Index r = first; r < first + group; ++r, to += side)
        simd::store(to, r < P_ ? channel_pairs(m, r, step) : simd::PairPack(0));
    for (Index tile = 0; tile < padded_ / side; tile += 2, columns += 2 * steps_ * tile_size) {
      multiply_four(rows.data(), tile_bytes, rows.data() + tile_size, 2 * tile_size, columns,
                    columns + steps_ * tile_size, steps_);
      store_four(sums + tile * side, 4 * padded_);
    }
  }

  /// Writes dq of 32 queries, and the pairs of their terms and ds.
  void add_queries(Index first, const Waiting& to) const {
    const Scratch<float> p(group * padded_), dp(group * padded_);
    const Scratch<Bfloat16Pair> ds(group * padded_ / 2);
    multiply_rows(heads_.q, first, keys_.data(), p.data());
    multiply_rows(heads_.dy, first, values_.data(), dp.data());
    for (Index r = 0; r < group; r += 2) {
      float dots[2];
      for (Index i = 0; i < 2; ++i)
        dots[i] =
            soften(first + r + i, p.data() + (r + i) * padded_, dp.data() + (r + i) * padded_);
      pair_up(p.data() + r * padded_, dp.data() + r * padded_, dots,
              {to.p + r / 2 * side, to.ds + r / 2 * side, to.next}, ds.data() + r * padded_ / 2);
    }
    write_dq(ds.data(), first);
  }

  /// Replaces a query's scores by softmax's terms; returns sum_j p dp.
  float soften(Index query, float* scores, const float* dp) const {
    const bool real = query < P_;  // those behind the last one get zeros
    const P largest(real ? heads_.scales[2 * query] : 0.0F),
        inverse(real ? heads_.scales[2 * query + 1] : 0.0F),
        factor(scale_ * std::numbers::log2e_v<float>);
    P dot(0.0F);
    for (Index i = 0; i < padded_; i += side) {
      P term = simd::coarse_exp2((simd::load(scores + i) - largest) * factor) * inverse;
      if (P_ - i < side) term = simd::first_values(term, std::max<Index>(P_ - i, 0));
      simd::store(scores + i, term);
      dot = simd::fma(term, simd::load(dp + i), dot);
    }
    return simd::reduce_add(dot);
  }

  /// From two rows of p and dp: the pairs of the two queries, and ds of each as pairs of keys.
  void pair_up(const float* p, const float* dp, const float* dots, const Waiting& to,
               Bfloat16Pair* ds) const {
    for (Index i = 0; i < padded_; i += group) {
      P terms[2][2], gradients[2][2];  // query, half
      for (Index q = 0; q < 2; ++q) {
        for (Index half = 0; half < 2; ++half) {
          const Index at = q * padded_ + i + half * side;
          terms[q][half] = simd::load(p + at);
          gradients[q][half] = terms[q][half] * (simd::load(dp + at) - P(dots[q])) * P(scale_);
        }
        simd::store(ds + (q * padded_ + i) / 2,
                    simd::neighbour_pairs(gradients[q][0], gradients[q][1]));
      }
      for (Index half = 0; half < 2; ++half) {
        const Index place = (i / side + half) * to.next;
        simd::store(to.p + place, simd::pair(terms[0][half], terms[1][half]));
        simd::store(to.ds + place, simd::pair(gradients[0][half], gradients[1][half]));
      }
    }
  }

  void write_dq(const Bfloat16Pair* ds, Index first) const {
    alignas(64) float sums[4 * tile_size];
    const Index groups = padded_ / group, rows = std::min(group, P_ - first);
    for (Index tile = 0; tile < 2 * steps_; tile += 2) {
      const Bfloat16Pair* keys = key_pairs_.data() + tile * groups * tile_size;
      multiply_four(ds, 2 * padded_, ds + side * padded_ / 2, side, keys, keys + groups * tile_size,
                    groups);
      store_four(sums, 2 * tile_bytes);
      for (Index r = 0; r < rows; ++r)
        for (Index c = tile * side; c < std::min(D_, (tile + 2) * side); c += side)
          simd::store_partial(heads_.dq.row(first + r) + c,
                              simd::load(sums + r * group + c - tile * side),
                              std::min(side, D_ - c));
    }
  }

  /// target = left right, turned, of the queries of `count` groups; added unless these are the
  /// first ones.
  void add_turned(const Bfloat16Pair* left, const Bfloat16Pair* right, Index first, Index count,
                  const Matrix<float>& target) const {
    alignas(64) float sums[4 * tile_size], turned[tile_size];
    const Index groups = padded_ / group, below = groups * tile_size;
    for (Index key = 0; key < padded_; key += group, right += 2 * count * tile_size) {
      const Bfloat16Pair* rows = left + first * tile_size;
      for (Index d = 0; d < D_; d += group, rows += 2 * below) {
        multiply_four(rows, tile_bytes, rows + below, tile_size, right, right + count * tile_size,
                      count);
        store_four(sums, 2 * tile_bytes);
        for (Index half = 0; half < 4; ++half) {
          const Index c = d + half / 2 * side, token = key + half % 2 * side;
          simd::transpose(sums + half / 2 * side * group + half % 2 * side, group, turned, side);
          add_rows(turned, first > 0, token, c, target);
        }
      }
    }
  }

  void add_rows(const float* values, bool add, Index token, Index c,
                const Matrix<float>& target) const {
    const Index valid = std::min(side, D_ - c);
    if (valid <= 0) return;
    for (Index r = 0; r < std::min(side, P_ - token); ++r) {
      float* to = target.row(token + r) + c;
      P value = simd::load(values + r * side);
      if (add) value += simd::load_partial(to, valid);
      simd::store_partial(to, value, valid);
    }
  }

  const GradientHeads& heads_;
  Index P_, D_, padded_, steps_;
  float scale_;
  Scratch<Bfloat16Pair> keys_, values_, key_pairs_, turned_q_, turned_dy_;
};

}  // namespace ddpm::DDPM_ABI::kernels::amx

#endif
