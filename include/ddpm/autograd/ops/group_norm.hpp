// Group normalisation as a differentiable op. Maths: kernels/group_norm.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/group_norm_gradient.hpp"

namespace ddpm::DDPM_ABI {

using kernels::Activation;

/// Normalises x (N, H, W, C) in `groups` groups of channels, then applies the activation; gamma and
/// beta are (C), eps is in units of x^2. If `skip` is given, C are the channels [x | skip] of the
/// two, read where they lie.
/// Keeps x, skip and two (N, groups) arrays alive until backward. Throws PreconditionError if
/// shapes disagree, eps <= 0 or the groups do not divide C.
template <class T>
Variable<T> group_norm(const Variable<T>& x, const Variable<T>& gamma, const Variable<T>& beta,
                       Index groups, T eps = T(1e-6), Activation activation = Activation::none,
                       const Variable<T>& skip = {}) {
  require(x.shape().rank() == 4 && groups > 0, "group_norm: x is ", x.shape(), " in ", groups,
          " groups, expected (N, H, W, C) and at least one group");
  const Shape& s = x.shape();
  Tensor<T> y({s[0], s[1], s[2], s[3] + (skip.defined() ? skip.shape().back() : 0)});
  Tensor<T> mean({s[0], groups}), rstd(mean.shape());
  kernels::group_norm_forward<T>({x.view(), skip.view()}, gamma.view(), beta.view(), eps,
                                 activation, y, {mean, rstd});
  const auto backward = [=](const Tensor<T>& dy, GradientsSoFar<T>& so_far) -> Gradients<T, 4> {
    const Tensor<T> dx = skip.defined() ? x.new_grad() : x.new_grad(dy);
    const Tensor<T> dskip = skip.new_grad(), dgamma = gamma.new_grad(), dbeta = beta.new_grad();
    const Tensor<T> dx_so_far = so_far.take(0), dskip_so_far = so_far.take(3);
    kernels::group_norm_backward<T>(dy, {x.view(), skip.view()}, gamma.view(), beta.view(),
                                    activation, {mean, rstd}, {dx, dskip}, dgamma, dbeta,
                                    {dx_so_far, dskip_so_far});
    return {dx, dgamma, dbeta, dskip};
  };
  return Variable<T>::output(y, {x, gamma, beta, skip}, backward);
}

}  // namespace ddpm::DDPM_ABI
