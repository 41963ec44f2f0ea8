// Group normalisation and the convolution that alone reads its result.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/ops/conv.hpp"
#include "ddpm/autograd/ops/group_norm.hpp"
#include "ddpm/kernels/conv/amx/normalised_map.hpp"

namespace ddpm::DDPM_ABI {

/// What group_norm() takes beside x.
template <class T>
struct Normalisation {
  const Variable<T>&gamma, &beta;
  Index groups;
  T eps;
  Activation activation;
};

#ifdef DDPM_AMX
namespace detail {

/// True if the normalised map can be written in bfloat16, and only so.
inline bool rounds_norm(const Variable<float>& x, const Variable<float>& skip,
                        const Normalisation<float>& norm, const Variable<float>& w,
                        const ConvGeometry& geometry) {
  if (grad_enabled() || matmul_precision() != Precision::bfloat16 || x.shape().rank() != 4 ||
      geometry.enlarges() || norm.groups < 1)
    return false;
  const Index A = x.dim(3), B = skip.defined() ? skip.dim(3) : 0;
  const Shape seen{x.dim(0), x.dim(1), x.dim(2), A + B};
  kernels::conv2d_shape(seen, w.shape(), geometry);
  const kernels::Window g = kernels::conv_window(seen, w.shape(), geometry);
  return kernels::conv_path(kernels::ConvPass::forward, g, A + B, w.dim(3), Precision::bfloat16) ==
             kernels::ConvPath::tiles &&
         (A + B) % norm.groups == 0 && kernels::amx::can_normalise(A, B, norm.groups);
}

inline Variable<float> rounded_norm_conv2d(const Variable<float>& x, const Variable<float>& skip,
                                           const Normalisation<float>& norm,
                                           const Variable<float>& w, const Variable<float>& bias,
                                           const ConvGeometry& geometry,
                                           const Variable<float>& residual) {
  const Index C = x.dim(3) + (skip.defined() ? skip.dim(3) : 0);
  const Shape seen{x.dim(0), x.dim(1), x.dim(2), C};
  const Tensor<float> y(kernels::conv2d_shape(seen, w.shape(), geometry));
  kernels::detail::check_conv_operands<float>(seen, w.value(), bias.value(), residual.value(), y,
                                              geometry);
  const Tensor<float> mean({x.dim(0), norm.groups}), rstd(mean.shape());
  const kernels::Window g = kernels::conv_window(seen, w.shape(), geometry);
  const auto map =
      kernels::amx::normalised_map(g, {x.value(), skip.value()}, norm.gamma.value(),
                                   norm.beta.value(), norm.eps, norm.activation, {mean, rstd});
  reads_weights(w);
  kernels::amx::forward(g, map, w.value(), {bias.value(), residual.value().data(), y.data()});
  return y;
}

}  // namespace detail
#endif

/// conv2d(group_norm([x | skip]), w, bias, geometry, residual). Without gradients, in bfloat16 on
/// AMX, what lies between the two is written rounded, at once.
/// Throws PreconditionError as they do.
template <class T>
Variable<T> norm_conv2d(const Variable<T>& x, const Variable<T>& skip, const Normalisation<T>& norm,
                        const Variable<T>& w, const Variable<T>& bias, const ConvGeometry& geometry,
                        const Variable<T>& residual = {}) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (detail::rounds_norm(x, skip, norm, w, geometry))
      return detail::rounded_norm_conv2d(x, skip, norm, w, bias, geometry, residual);
#endif
  return conv2d(group_norm(x, norm.gamma, norm.beta, norm.groups, norm.eps, norm.activation, skip),
                w, bias, geometry, residual);
}

}  // namespace ddpm::DDPM_ABI
