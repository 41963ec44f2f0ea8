// Our parameters as PyTorch lays them out: a convolution (out, in, kh, kw), a linear layer (out,
// in), q, k and v of attention each by itself.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <string>
#include <utility>

#include "ddpm/core/tensor.hpp"
#include "ddpm/nn/attention_block.hpp"
#include "ddpm/nn/time_mlp.hpp"

namespace ddpm::DDPM_ABI::interop {

/// A part of one of our parameters, seen with another order of axes: value (i, j, ...) stands at
/// offset + i strides[0] + j strides[1] + ... of ours.
template <class T>
struct ForeignTensor {
  std::string name;  ///< there
  Shape shape;       ///< there
  std::array<Index, 4> strides;
  Tensor<T> ours;
  Index offset = 0;

  /// The values in the foreign order.
  Tensor<T> values() const {
    Tensor<T> result(shape);
    walk([&](Index there, Index here) { result[there] = ours[here]; });
    return result;
  }

  /// Sets ours from values in the foreign order.
  void assign(const Tensor<T>& values) const {
    walk([&](Index there, Index here) { ours[here] = values[there]; });
  }

 private:
  template <class F>
  void walk(const F& f) const {
    std::array<Index, 4> extent{1, 1, 1, 1}, at{};
    for (int axis = 0; axis < shape.rank(); ++axis)
      extent[static_cast<std::size_t>(axis)] = shape[axis];
    Index there = 0;
    for (at[0] = 0; at[0] < extent[0]; ++at[0])
      for (at[1] = 0; at[1] < extent[1]; ++at[1])
        for (at[2] = 0; at[2] < extent[2]; ++at[2])
          for (at[3] = 0; at[3] < extent[3]; ++at[3], ++there)
            f(there, offset + at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] +
                         at[3] * strides[3]);
  }
};

/// A vector as it is.
template <class T>
ForeignTensor<T> vector_of(std::string name, const Variable<T>& v) {
  return {std::move(name), v.shape(), {1, 0, 0, 0}, v.value()};
}

/// A table (rows, columns), of which the first `rows` are taken.
template <class T>
ForeignTensor<T> rows_of(std::string name, const Variable<T>& table, Index rows) {
  const Index columns = table.dim(1);
  return {std::move(name), {rows, columns}, {columns, 1, 0, 0}, table.value()};
}

/// A weight (in, out), or the taps of a pointwise convolution, as (out, in).
template <class T>
ForeignTensor<T> linear_weight(std::string name, const Variable<T>& w) {
  const Index out = w.shape().back(), in = w.shape().size() / out;
  return {std::move(name), {out, in}, {1, out, 0, 0}, w.value()};
}

/// A weight (kh, kw, in, out) as (out, in, kh, kw).
template <class T>
ForeignTensor<T> conv_weight(std::string name, const Variable<T>& w) {
  const Index in = w.dim(2), out = w.dim(3);
  return {std::move(name),
          {out, in, w.dim(0), w.dim(1)},
          {1, out, w.dim(1) * in * out, in * out},
          w.value()};
}

/// A weight (kh, kw, in, out) of a transposed convolution as (in, out, kh, kw).
template <class T>
ForeignTensor<T> conv_transpose_weight(std::string name, const Variable<T>& w) {
  const Index in = w.dim(2), out = w.dim(3);
  return {std::move(name),
          {in, out, w.dim(0), w.dim(1)},
          {out, 1, w.dim(1) * in * out, in * out},
          w.value()};
}

/// Weight and bias of q (part 0), k (1) or v (2), as those of a linear layer.
template <class T>
std::pair<ForeignTensor<T>, ForeignTensor<T>> projection_of(const std::string& name,
                                                            const nn::Conv2d<T>& qkv, Index part) {
  const Index C = qkv.weight.dim(2);
  return {{name + ".weight", {C, C}, {1, 3 * C, 0, 0}, qkv.weight.value(), part * C},
          {name + ".bias", {C}, {1, 0, 0, 0}, qkv.bias.value(), part * C}};
}

}  // namespace ddpm::DDPM_ABI::interop
