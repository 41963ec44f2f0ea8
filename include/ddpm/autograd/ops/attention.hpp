// Multi-head self-attention as a differentiable op. Maths: kernels/attention.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/core/precision.hpp"
#include "ddpm/kernels/attention.hpp"

namespace ddpm::DDPM_ABI {

/// Attention of all pixels to all pixels: qkv (N, H, W, 3 C), channels [q | k | v], to (N, H, W,
/// C). Keeps qkv and two numbers for each pixel and head alive until backward. Throws
/// PreconditionError if shapes disagree or the heads do not divide C.
template <class T>
Variable<T> attention(const Variable<T>& qkv, Index heads) {
  const Shape& s = qkv.shape();
  kernels::detail::check_attention(s, heads);
  Tensor<T> y({s[0], s[1], s[2], s[3] / 3}), scales;
  if (grad_enabled() && qkv.requires_grad()) scales = Tensor<T>({s[0] * heads, s[1] * s[2], 2});
  kernels::attention_forward<T>(qkv.view(), heads, y, scales);
  const Precision precision = matmul_precision();
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const PrecisionScope scope(precision);  // the scores are computed again, to the same bits
    Tensor<T> dqkv(qkv.shape());
    kernels::attention_backward<T>(dy, qkv.view(), scales, heads, dqkv);
    return {dqkv};
  };
  return Variable<T>::output(y, {qkv}, backward);
}

}  // namespace ddpm::DDPM_ABI
