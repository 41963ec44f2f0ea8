// Multi-head self-attention over all pixels (Vaswani et al. 2017, section 3.2).
//
//   p = softmax(q k^T / sqrt(D)),   y = p v        for each image and head
//
// p is never kept: its rows are computed for a block of queries at a time, and once more, from the
// largest score and the sum of each row, in the backward pass (as in Dao et al. 2022,
// arXiv:2205.14135, section 3.1, with whole rows). Memory is linear in P.
//
// Letters: N images, P = H*W tokens, C channels = heads * D. q, k and v stand side by side in one
// tensor of 3 C channels, [q | k | v], each head a run of D channels: all matrices are read where
// they lie.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/amx_attention_gradient.hpp"
#include "ddpm/kernels/product/operand.hpp"
#include "ddpm/kernels/product/product.hpp"
#include "ddpm/kernels/softmax.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// The matrices of one image and head inside tensors (N, H, W, parts * C).
struct HeadLayout {
  Index P, C, D, heads;

  HeadLayout(const Shape& qkv, Index head_count)
      : P(qkv[1] * qkv[2]), C(qkv[3] / 3), D(C / head_count), heads(head_count) {}

  /// Part 0, 1, 2 is q, k, v of a tensor of three parts; part 0 is all of a tensor of one.
  template <class T>
  Matrix<T> matrix(T* data, Index parts, Index part, Index image_and_head) const {
    const Index n = image_and_head / heads, head = image_and_head % heads;
    return {data + n * P * parts * C + part * C + head * D, P, D, parts * C};
  }
};

inline void check_attention(const Shape& qkv, Index heads) {
  require(qkv.rank() == 4 && qkv[3] % 3 == 0 && qkv[1] * qkv[2] > 0, "attention: qkv is ", qkv,
          ", expected (N, H, W, 3 C), at least one pixel");
  require(heads >= 1 && qkv[3] / 3 % heads == 0, "attention: ", qkv[3] / 3,
          " channels do not split into ", heads, " heads");
}

}  // namespace detail

namespace detail {

/// Queries whose scores stand in memory at once: all of them as long as they fit into half a
/// megabyte of floats, so that nothing of size P x P is ever stored for long maps.
inline Index query_block(Index P) {
  constexpr Index scores = Index{1} << 17;
  return std::min(P, std::max<Index>(32, scores / P));
}

/// Calls f(first, count) for the blocks of P queries.
template <class F>
void for_each_query_block(Index P, const F& f) {
  const Index block = query_block(P);
  parallel_for((P + block - 1) / block,
               [&](Index i) { f(i * block, std::min(block, P - i * block)); });
}

}  // namespace detail

namespace detail {

/// The outputs of image and head i, in units U.
template <class U, class T = Sum<U>>
void attend(const HeadLayout& at, View<const T> qkv, View<T> y, View<T> scales, Index i) {
  const T factor = 1 / std::sqrt(static_cast<T>(at.D));
#ifdef DDPM_AMX
  if constexpr (terms_of_unit<U> == 2)
    if (amx::granted()) {
      const amx::FloatHeads heads{{at.matrix(qkv.data, 3, 0, i), at.matrix(qkv.data, 3, 1, i),
                                   at.matrix(qkv.data, 3, 2, i)},
                                  at.matrix(y.data, 1, 0, i)};
      return amx::Attention(heads, factor)
          .write(scales.empty() ? nullptr : scales.data + i * at.P * 2);
    }
#endif
  const Index P = at.P;
  const Matrix<const T> q = at.matrix(qkv.data, 3, 0, i);
  const PackedMatrix<U> k(at.matrix(qkv.data, 3, 1, i), true);
  const PackedMatrix<U> v(at.matrix(qkv.data, 3, 2, i), false);
  const Matrix<T> out = at.matrix(y.data, 1, 0, i);
  for_each_query_block(P, [&](Index first, Index count) {
    Scratch<T> scratch(count * P);
    const Matrix<T> p{scratch.data(), count, P, P};
    k.multiply(q.slice(first, count), p);
    Scratch<T> factors(count);
    parallel_for(count, [&](Index r) {
      const auto scale = exponential_row(p.row(r), P, factor);
      factors[r] = scale.factor;
      if (scales.empty()) return;
      T* kept = scales.data + (i * P + first + r) * 2;
      kept[0] = scale.largest;
      kept[1] = scale.factor;
    });
    v.multiply(p, out.slice(first, count));
    for (Index r = 0; r < count; ++r) scale_row(out.row(first + r), at.D, factors[r]);
  });
}

}  // namespace detail

/// Writes y (N, H, W, C) for qkv (N, H, W, 3 C), and the scales of softmax's rows, largest score
/// and 1 / sum, (N * heads, P, 2); scales may be empty.
/// Throws PreconditionError if shapes disagree or the heads do not divide C.
template <class T>
void attention_forward(View<const T> qkv, Index heads, View<T> y, View<T> scales) {
  detail::check_attention(qkv.shape, heads);
  const detail::HeadLayout at(qkv.shape, heads);
  const Index N = qkv.dim(0), P = at.P;
  require_shape("attention: y", y.shape, {N, qkv.dim(1), qkv.dim(2), at.C});
  if (!scales.empty()) require_shape("attention: scales", scales.shape, {N * heads, P, 2});
  const Operand<T> in(qkv);
  with_unit<T>([&]<class U>() {
    parallel_for(N * heads, [&](Index i) { detail::attend<U>(at, in.view(), y, scales, i); });
  });
}

namespace detail {

/// The gradients of one image and head, in units U.
template <class U>
class HeadGradient {
 public:
  using T = Sum<U>;

  HeadGradient(const HeadLayout& at, View<const T> qkv, View<const T> dy, const T* scales,
               View<T> dqkv, Index i)
      : P_(at.P),
        D_(at.D),
        factor_(1 / std::sqrt(static_cast<T>(at.D))),
        q_(at.matrix(qkv.data, 3, 0, i)),
        dy_(at.matrix(dy.data, 1, 0, i)),
        dq_(at.matrix(dqkv.data, 3, 0, i)),
        dk_(at.matrix(dqkv.data, 3, 1, i)),
        dv_(at.matrix(dqkv.data, 3, 2, i)),
        scales_(scales),
        scores_(at.matrix(qkv.data, 3, 1, i), true),
        values_(at.matrix(qkv.data, 3, 2, i), true),
        keys_(at.matrix(qkv.data, 3, 1, i), false),
        gradient_(P_ * D_) {}

  /// Queries [first, first + count): writes their dq, adds to dk and dv, or writes those if first
  /// is 0. Softmax is computed once more, to the same bits as in the forward pass.
  void add(Index first, Index count) const {
    Scratch<T> scratch(2 * count * P_);
    const Matrix<T> p{scratch.data(), count, P_, P_};
    const Matrix<T> dp{scratch.data() + count * P_, count, P_, P_};
    const Matrix<const T> q = q_.slice(first, count), dy = dy_.slice(first, count);
    scores_.multiply(q, p);
    values_.multiply(dy, dp);
    parallel_for(count, [&](Index r) {
      const T* scale = scales_ + (first + r) * 2;
      softmax_row<T>(p.row(r), P_, factor_, {scale[0], scale[1]});
      softmax_row_backward(p.row(r), P_, factor_, dp.row(r));
    });
    keys_.multiply(dp, dq_.slice(first, count));
    add_product(p, dy, first == 0, dv_);
    add_product(dp, q, first == 0, dk_);
  }

 private:
  /// target (+)= a^T b. transposed_multiply writes dense rows, the target has gaps between them.
  void add_product(Matrix<const T> a, Matrix<const T> b, bool write, Matrix<T> target) const {
    transposed_multiply<U>(a, b, gradient_.data());
    for (Index r = 0; r < P_; ++r) {
      const T* row = gradient_.data() + r * D_;
      if (write)
        std::copy_n(row, D_, target.row(r));
      else
        simd::map([](const auto& u, const auto& v) { return u + v; }, D_, target.row(r),
                  std::as_const(target).row(r), row);
    }
  }

  Index P_, D_;
  T factor_;
  Matrix<const T> q_, dy_;
  Matrix<T> dq_, dk_, dv_;
  const T* scales_;
  PackedMatrix<U> scores_, values_, keys_;
  Scratch<T> gradient_;
};

/// Writes the gradients of image and head i, in units U.
template <class U, class T = Sum<U>>
void attend_backward(const HeadLayout& at, View<const T> dy, View<const T> qkv,
                     View<const T> scales, View<T> dqkv, Index i) {
  const T* own_scales = scales.data + i * at.P * 2;
#ifdef DDPM_AMX
  if constexpr (terms_of_unit<U> == 2)
    if (amx::granted()) {
      const amx::GradientHeads heads{at.matrix(qkv.data, 3, 0, i),
                                     at.matrix(qkv.data, 3, 1, i),
                                     at.matrix(qkv.data, 3, 2, i),
                                     at.matrix(dy.data, 1, 0, i),
                                     own_scales,
                                     at.matrix(dqkv.data, 3, 0, i),
                                     at.matrix(dqkv.data, 3, 1, i),
                                     at.matrix(dqkv.data, 3, 2, i)};
      return amx::AttentionGradient(heads, 1 / std::sqrt(static_cast<T>(at.D))).write();
    }
#endif
  const HeadGradient<U> head(at, qkv, dy, own_scales, dqkv, i);
  const Index block = query_block(at.P);
  for (Index first = 0; first < at.P; first += block)
    head.add(first, std::min(block, at.P - first));
}

}  // namespace detail

/// With L = <dy, y>, writes dqkv (N, H, W, 3 C) from the forward pass's scales.
template <class T>
void attention_backward(View<const T> dy, View<const T> qkv, View<const T> scales, Index heads,
                        View<T> dqkv) {
  detail::check_attention(qkv.shape, heads);
  const detail::HeadLayout at(qkv.shape, heads);
  require_shape("attention_backward: dy", dy.shape, {qkv.dim(0), qkv.dim(1), qkv.dim(2), at.C});
  require_shape("attention_backward: scales", scales.shape, {qkv.dim(0) * heads, at.P, 2});
  require_shape("attention_backward: dqkv", dqkv.shape, qkv.shape);
  const Operand<T> in(qkv), gradient(dy);
  with_unit<T>([&]<class U>() {
    parallel_for(qkv.dim(0) * heads, [&](Index i) {
      detail::attend_backward<U>(at, gradient.view(), in.view(), scales, dqkv, i);
    });
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
