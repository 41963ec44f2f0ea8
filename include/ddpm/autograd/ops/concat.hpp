// Concatenation of channels as a differentiable op. Maths: kernels/concat.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/concat.hpp"

namespace ddpm::DDPM_ABI {

/// [a | b] on the last axis of a (N, H, W, A) and b (N, H, W, B).
/// Throws PreconditionError if the other extents differ.
template <class T>
Variable<T> concat(const Variable<T>& a, const Variable<T>& b) {
  const Shape &s = a.shape(), &r = b.shape();
  require(s.rank() == 4 && r.rank() == 4 && s[0] == r[0] && s[1] == r[1] && s[2] == r[2],
          "concat: a is ", s, " and b is ", r, ", expected (N, H, W, A) and (N, H, W, B)");
  Tensor<T> y({s[0], s[1], s[2], s[3] + r[3]});
  kernels::concat_forward<T>(a.view(), b.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 2> {
    const Tensor<T> da = a.new_grad(), db = b.new_grad();
    kernels::concat_backward<T>(dy, a.dim(3), da, db);
    return {da, db};
  };
  return Variable<T>::output(y, {a, b}, backward);
}

/// The first `count` channels of x (N, H, W, C). Throws PreconditionError if there are not so many.
template <class T>
Variable<T> first_channels(const Variable<T>& x, Index count) {
  const Shape s = x.shape();
  require(s.rank() == 4 && count >= 1 && count <= s[3], "first_channels: ", count, " of ", s);
  Tensor<T> y({s[0], s[1], s[2], count});
  kernels::concat_backward<T>(x.view(), count, y, {});
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad(), none({s[0], s[1], s[2], s[3] - count}, T(0));
    kernels::concat_forward<T>(dy, none, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

}  // namespace ddpm::DDPM_ABI
