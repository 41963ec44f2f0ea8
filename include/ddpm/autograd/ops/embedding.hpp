// Rows of a table as a differentiable op. Maths: kernels/embedding.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/embedding.hpp"

namespace ddpm::DDPM_ABI {

/// Row rows[n] of table (K, C) as row n: (N, C).
/// Throws PreconditionError if the table is no matrix or a number is not in [0, K).
template <class T>
Variable<T> embedding(const Variable<T>& table, std::span<const Index> rows) {
  require(table.shape().rank() == 2, "embedding: table is ", table.shape(), ", expected (K, C)");
  Tensor<T> y({static_cast<Index>(rows.size()), table.shape().back()});
  kernels::embedding_forward<T>(table.view(), rows, y);
  const auto backward = [table, kept = PooledVector<Index>(rows.begin(), rows.end())](
                            const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dtable = table.new_grad();
    kernels::embedding_backward<T>(dy, kept, dtable);
    return {dtable};
  };
  return Variable<T>::output(y, {table}, backward);
}

}  // namespace ddpm::DDPM_ABI
