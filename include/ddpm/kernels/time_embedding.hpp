// Sinusoidal embedding of timesteps (Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B).
//
//   e(t) = [sin(t f_0), ..., sin(t f_{h-1}), cos(t f_0), ..., cos(t f_{h-1})],
//   f_i = 10000^(-i / (h - s)),  h = dim / 2;  one zero follows if dim is odd
//
// s = 1 in the paper's code; other networks have s = 0, or the cosines first.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <span>

#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

struct TimeEmbeddingOptions {
  double frequency_shift = 1;  ///< s, in [0, 1]
  bool cosine_first = false;

  /// f_i of an embedding of 2 half numbers.
  double frequency(Index i, Index half) const {
    return std::exp(-std::log(10000.0) * double(i) / (double(half) - frequency_shift));
  }
};

/// Writes e (N, dim) for timesteps t (N), each at least 0. Computed in double.
/// Throws PreconditionError if N differs or dim < 4.
template <class T>
void time_embedding(std::span<const double> t, View<T> e,
                    const TimeEmbeddingOptions& options = {}) {
  require(e.shape.rank() == 2 && e.dim(0) == static_cast<Index>(t.size()), "time_embedding: e is ",
          e.shape, ", expected (", t.size(), ", dim)");
  require(e.dim(1) >= 4, "time_embedding: dim is ", e.dim(1), ", expected at least 4");
  const Index dim = e.dim(1), half = dim / 2;
  const Index sines = options.cosine_first ? half : 0, cosines = half - sines;
  for (Index n = 0; n < e.dim(0); ++n) {
    T* row = e.row(n);
    for (Index i = 0; i < half; ++i) {
      const double angle = t[static_cast<std::size_t>(n)] * options.frequency(i, half);
      row[sines + i] = static_cast<T>(std::sin(angle));
      row[cosines + i] = static_cast<T>(std::cos(angle));
    }
    if (dim % 2 == 1) row[dim - 1] = 0;
  }
}

}  // namespace ddpm::DDPM_ABI::kernels
