// The sinusoidal embedding of timesteps, a constant of the graph. Maths:
// kernels/time_embedding.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/time_embedding.hpp"

namespace ddpm::DDPM_ABI {

/// (N, dim) for N timesteps. Throws PreconditionError if dim < 4.
template <class T>
Variable<T> time_embedding(std::span<const double> t, Index dim,
                           const kernels::TimeEmbeddingOptions& options = {}) {
  Tensor<T> e({static_cast<Index>(t.size()), dim});
  kernels::time_embedding<T>(t, e, options);
  return Variable<T>(e);
}

}  // namespace ddpm::DDPM_ABI
