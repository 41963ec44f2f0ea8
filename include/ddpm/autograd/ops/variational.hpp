// The terms of the variational bound as a differentiable op. Maths: kernels/variational.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/variational.hpp"

namespace ddpm::DDPM_ABI {

using kernels::VariationalOptions;
using kernels::VariationalStep;

/// Each image's term of the bound in nats a value, shape (N), differentiable by the output.
///   output    (N, H, W, C), or 2 C with a learned variance
///   x_0, x_t  (N, H, W, C)
///   steps     of each image
///   errors    (N) or empty: written, the mean of (xhat - x_0)^2
/// Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> variational_terms(const Variable<T>& output, const Tensor<T>& x_0, const Tensor<T>& x_t,
                              PooledVector<VariationalStep> steps,
                              const VariationalOptions& options, View<T> errors = {}) {
  Tensor<T> terms({output.dim(0)});
  kernels::variational_forward<T>(output.view(), x_0, x_t, steps, options, terms, errors);
  const auto backward = [=, kept = std::move(steps)](const Tensor<T>& dterms) -> Gradients<T, 1> {
    const Tensor<T> doutput = output.new_grad();
    kernels::variational_backward<T>(dterms, output.view(), x_0, x_t, kept, options, doutput);
    return {doutput};
  };
  return Variable<T>::output(terms, {output}, backward);
}

}  // namespace ddpm::DDPM_ABI
