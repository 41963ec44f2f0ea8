// Group normalisation and the convolution that is the only one to read its result.
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
  Variable<T> gamma, beta;  ///< (C)
  Index groups;
  T eps;
  Activation activation;
};

/// What norm_conv2d() takes beside x.
template <class T>
struct NormalisedConv {
  Normalisation<T> norm;
  Variable<T> w, bias;
  ConvGeometry geometry;
};

#ifdef DDPM_AMX
namespace detail {

/// True if ops of x and skip, which may be undefined, go by blocked maps.
inline bool takes_maps(const Variable<float>& x, const Variable<float>& skip) {
  return matmul_precision() == Precision::bfloat16 && x.shape().rank() == 4 &&
         (!skip.defined() || skip.shape().rank() == 4);
}

/// What a normalisation and a convolution by AMX have in common.
struct NormConv {
  Shape seen;  ///< of the normalised map
  Shape y;
  kernels::Window window;

  /// Throws PreconditionError as conv2d() does.
  NormConv(const Variable<float>& x, const Variable<float>& skip, const Variable<float>& w,
           const ConvGeometry& geometry)
      : seen{x.dim(0), x.dim(1), x.dim(2), x.dim(3) + (skip.defined() ? skip.dim(3) : 0)},
        y(kernels::conv2d_shape(seen, w.shape(), geometry)),
        window(kernels::conv_window(seen, w.shape(), geometry)) {}

  /// True if the normalised map can be written in bfloat16, and only so.
  bool rounds(Index first_part, Index groups, Index C_out) const {
    const Index C = seen[3];
    return kernels::conv_path(kernels::ConvPass::forward, window, C, C_out, matmul_precision()) ==
               kernels::ConvPath::tiles &&
           groups >= 1 && C % groups == 0 &&
           kernels::amx::can_normalise(first_part, C - first_part, groups);
  }
};

/// A normalisation's result as a map, and its statistics. What it reads is written to `parts`; see
/// normalised_map().
struct NormalisedOp {
  kernels::amx::BlockedMap map;
  Tensor<float> mean, rstd;

  NormalisedOp(const NormConv& op, const Variable<float>& x, const Variable<float>& skip,
               const Normalisation<float>& norm,
               std::span<const kernels::amx::BlockedMap> parts = {})
      : mean({op.seen[0], norm.groups}), rstd(mean.shape()) {
    map = kernels::amx::normalised_map(op.window, {x.value(), skip.value()}, norm.gamma.value(),
                                       norm.beta.value(), norm.eps, norm.activation, {mean, rstd},
                                       parts);
  }
};

/// conv(map) + bias as a map of the same window.
inline kernels::amx::BlockedMap conv_map(const NormConv& op, const kernels::amx::BlockedMap& map,
                                         const Variable<float>& w, const Variable<float>& bias) {
  reads_weights(w);
  const kernels::amx::BlockedMap result(op.window, op.y[3]);
  kernels::amx::convolve(
      kernels::amx::Term(op.window, map, kernels::amx::fixed_or_fresh(w.value())),
      kernels::amx::ToMap(result, bias.value()));
  return result;
}

inline Variable<float> rounded_norm_conv2d(const NormConv& op, const Variable<float>& x,
                                           const Variable<float>& skip,
                                           const Normalisation<float>& norm,
                                           const Variable<float>& w, const Variable<float>& bias,
                                           const ConvGeometry& geometry,
                                           const Variable<float>& residual) {
  const Tensor<float> y(op.y);
  kernels::detail::check_conv_operands<float>(op.seen, w.value(), bias.value(), residual.value(), y,
                                              geometry);
  const NormalisedOp normalised(op, x, skip, norm);
  const Variable<float> gamma = norm.gamma, beta = norm.beta;
  reads_weights(w);
  kernels::amx::forward(op.window, normalised.map, kernels::amx::fixed_or_fresh(w.value()),
                        {bias.value(), residual.value().data(), y.data()});
  const Activation activation = norm.activation;
  const bool residual_wanted = residual.requires_grad();
  const auto backward = [=](const Tensor<float>& dy,
                            GradientsSoFar<float>& so_far) -> Gradients<float, 7> {
    const Tensor<float> dmap(op.seen), dw = w.new_grad(), dbias = bias.new_grad();
    kernels::amx::backward(op.window, dy, normalised.map, w.value(), dmap.data(), dw.data());
    if (!dbias.empty()) kernels::column_sums<float>(dy, dbias);
    const Tensor<float> dx = skip.defined() ? x.new_grad() : x.new_grad(dmap);
    const Tensor<float> dskip = skip.new_grad(), dgamma = gamma.new_grad(), dbeta = beta.new_grad();
    const Tensor<float> dx_so_far = so_far.take(0), dskip_so_far = so_far.take(3);
    kernels::group_norm_backward<float>(
        dmap, {x.value(), skip.value()}, gamma.value(), beta.value(), activation,
        {normalised.mean, normalised.rstd}, {dx, dskip}, dgamma, dbeta, {dx_so_far, dskip_so_far});
    return {dx, dgamma, dbeta, dskip, dw, dbias, residual_wanted ? dy : Tensor<float>()};
  };
  return Variable<float>::output(y, {x, gamma, beta, skip, w, bias, residual}, backward);
}

}  // namespace detail
#endif

/// conv2d(group_norm([x | skip]), w, bias, geometry, residual).
///   x (N, H, W, A); skip (N, H, W, B), or undefined; w (KH, KW, A + B, C_out)
///   bias, residual  as conv2d() takes them
/// In bfloat16 on AMX what lies between the two is written rounded, at once, and kept until
/// backward in place of floats. Throws PreconditionError as they do.
template <class T>
Variable<T> norm_conv2d(const Variable<T>& x, const Variable<T>& skip, const Normalisation<T>& norm,
                        const Variable<T>& w, const Variable<T>& bias, const ConvGeometry& geometry,
                        const Variable<T>& residual = {}) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (detail::takes_maps(x, skip) && !geometry.enlarges()) {
      const detail::NormConv op(x, skip, w, geometry);
      if (op.rounds(x.dim(3), norm.groups, w.dim(3)))
        return detail::rounded_norm_conv2d(op, x, skip, norm, w, bias, geometry, residual);
    }
#endif
  return conv2d(group_norm(x, norm.gamma, norm.beta, norm.groups, norm.eps, norm.activation, skip),
                w, bias, geometry, residual);
}

}  // namespace ddpm::DDPM_ABI
