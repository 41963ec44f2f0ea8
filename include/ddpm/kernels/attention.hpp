// Multi-head self-attention over all pixels (Vaswani et al. 2017, section 3.2).
//
//   p = softmax(q k^T / sqrt(D)),   y = p v        for each image and head
//
// Letters: N images, P = H*W tokens, C channels = heads * D. q, k and v stand side by side in one
// tensor of 3 C channels, [q | k | v], each head a run of D channels: all matrices are read where
// they lie.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/scratch.hpp"
#include "ddpm/kernels/matmul.hpp"
#include "ddpm/kernels/softmax.hpp"

namespace ddpm::inline DDPM_ABI::kernels {

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
  require(qkv.rank() == 4 && qkv[3] % 3 == 0, "attention: qkv is ", qkv,
          ", expected (N, H, W, 3 C)");
  require(heads >= 1 && qkv[3] / 3 % heads == 0, "attention: ", qkv[3] / 3,
          " channels do not split into ", heads, " heads");
}

}  // namespace detail

/// Writes y (N, H, W, C) and p (N * heads, P, P) for qkv (N, H, W, 3 C). p may be empty: its values
/// are then not kept.
/// Throws PreconditionError if shapes disagree or the heads do not divide C.
template <class T>
void attention_forward(View<const T> qkv, Index heads, View<T> y, View<T> p) {
  detail::check_attention(qkv.shape, heads);
  const detail::HeadLayout at(qkv.shape, heads);
  const Index N = qkv.dim(0), P = at.P;
  require_shape("attention: y", y.shape, {N, qkv.dim(1), qkv.dim(2), at.C});
  if (!p.empty()) require_shape("attention: p", p.shape, {N * heads, P, P});
  const T factor = 1 / std::sqrt(static_cast<T>(at.D));
  parallel_for(N * heads, [&](Index i) {
    Scratch<T> scratch(p.empty() ? P * P : 0);
    const Matrix<T> scores{p.empty() ? scratch.data() : p.data + i * P * P, P, P, P};
    multiply_transposed<T>(at.matrix(qkv.data, 3, 0, i), at.matrix(qkv.data, 3, 1, i), scores);
    parallel_for(P, [&](Index r) { detail::softmax_row(scores.row(r), P, factor); });
    multiply<T>(scores, at.matrix(qkv.data, 3, 2, i), at.matrix(y.data, 1, 0, i));
  });
}

/// With L = <dy, y>, writes dqkv (N, H, W, 3 C) from the forward pass's p.
template <class T>
void attention_backward(View<const T> dy, View<const T> qkv, View<const T> p, Index heads,
                        View<T> dqkv) {
  const detail::HeadLayout at(qkv.shape, heads);
  const Index P = at.P, D = at.D;
  const T factor = 1 / std::sqrt(static_cast<T>(D));
  parallel_for(qkv.dim(0) * heads, [&](Index i) {
    const auto part = [&](Index which) { return at.matrix(qkv.data, 3, which, i); };
    const Matrix<const T> probability{p.data + i * P * P, P, P, P};
    const Matrix<const T> dout = at.matrix(dy.data, 1, 0, i);
    Scratch<T> scratch(P * P), gradient(P * D);
    const Matrix<T> dscores{scratch.data(), P, P, P};
    // transposed_multiply writes dense rows, dqkv has gaps between them.
    const auto write = [&](Index which) {
      const Matrix<T> target = at.matrix(dqkv.data, 3, which, i);
      for (Index r = 0; r < P; ++r) std::copy_n(gradient.data() + r * D, D, target.row(r));
    };
    transposed_multiply<T>(probability, dout, gradient.data());
    write(2);
    multiply_transposed<T>(dout, part(2), dscores);
    parallel_for(P, [&](Index r) {
      detail::softmax_row_backward(probability.row(r), P, factor, dscores.row(r));
    });
    multiply<T>(dscores, part(1), at.matrix(dqkv.data, 3, 0, i));
    transposed_multiply<T>(dscores, part(0), gradient.data());
    write(1);
  });
}

}  // namespace ddpm::inline DDPM_ABI::kernels
