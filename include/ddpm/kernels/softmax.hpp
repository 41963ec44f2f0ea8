// Softmax over the last axis: y_j = exp(s x_j - max) / sum_k exp(s x_k - max).
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI::kernels {

namespace detail {

/// What turns a row into its softmax: y_j = exp(s (x_j - largest)) factor.
template <class T>
struct SoftmaxScale {
  T largest, factor;
};

/// exp(s (v - largest)) on packs. Subtracting first keeps the exponent finite for any finite row;
/// the largest term is exp(0).
template <class T>
struct Exponential {
  T s, largest;
  simd::Pack<T> operator()(const simd::Pack<T>& v) const {
    return simd::exp((v - simd::Pack<T>(largest)) * simd::Pack<T>(s));
  }
};

/// Replaces a row of `count` values by exp(s (x - largest)): its softmax but for the factor.
template <class T>
SoftmaxScale<T> exponential_row(T* row, Index count, T s) {
  const Exponential<T> exponential{s, simd::largest(count, row)};
  simd::Pack<T> total(T(0));
  Index i = 0;
  for (; i + simd::width<T> <= count; i += simd::width<T>) {
    const simd::Pack<T> value = exponential(simd::load(row + i));
    simd::store(row + i, value);
    total += value;
  }
  if (i < count) {
    simd::store_partial(row + i, exponential(simd::load_partial(row + i, count - i)), count - i);
    total += simd::load_partial(row + i, count - i);
  }
  return {exponential.largest, 1 / simd::reduce_add(total)};
}

template <class T>
void scale_row(T* row, Index count, T factor) {
  simd::map<T>([=](const auto& v) { return v * simd::Pack<T>(factor); }, count, row, row);
}

/// One row of `count` values, in place, of s times the row.
template <class T>
SoftmaxScale<T> softmax_row(T* row, Index count, T s) {
  const SoftmaxScale<T> scale = exponential_row(row, count, s);
  scale_row(row, count, scale.factor);
  return scale;
}

/// The same once more, to the same bits, where the scale is known.
template <class T>
void softmax_row(T* row, Index count, T s, const SoftmaxScale<T>& known) {
  const Exponential<T> exponential{s, known.largest};
  simd::map<T>([&](const auto& v) { return exponential(v) * simd::Pack<T>(known.factor); }, count,
               row, row);
}

/// dx = s y (dy - <dy, y>), written over dy.
template <class T>
void softmax_row_backward(const T* y, Index count, T s, T* dy) {
  const T dot = simd::sum([](const auto& g, const auto& v) { return g * v; }, count, dy, y);
  const auto combine = [=](const auto& g, const auto& v) {
    using P = std::decay_t<decltype(v)>;
    return (g - P(dot)) * v * P(s);
  };
  simd::map<T>(combine, count, dy, dy, y);
}

}  // namespace detail

/// Writes y, shaped as x; y may alias x. Throws PreconditionError if shapes disagree.
template <class T>
void softmax_forward(View<const T> x, View<T> y) {
  require_shape("softmax: y", y.shape, x.shape);
  if (x.size() == 0) return;
  const Index columns = x.shape.back();
  parallel_for(x.size() / columns, [&](Index i) {
    if (y.data != x.data) std::copy_n(x.row(i), columns, y.row(i));
    detail::softmax_row(y.row(i), columns, T(1));
  });
}

/// With L = <dy, y>, writes dx from the forward pass's result y; dx may alias dy.
template <class T>
void softmax_backward(View<const T> dy, View<const T> y, View<T> dx) {
  require_shape("softmax_backward: dy", dy.shape, y.shape);
  require_shape("softmax_backward: dx", dx.shape, y.shape);
  if (y.size() == 0) return;
  const Index columns = y.shape.back();
  parallel_for(y.size() / columns, [&](Index i) {
    if (dx.data != dy.data) std::copy_n(dy.row(i), columns, dx.row(i));
    detail::softmax_row_backward(y.row(i), columns, T(1), dx.row(i));
  });
}

}  // namespace ddpm::DDPM_ABI::kernels
