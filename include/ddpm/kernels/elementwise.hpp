// Elementwise kernels.
//
//   silu(x) = x / (1 + exp(-x))                         (Elfwing et al. 2018; Ramachandran's swish)
//   gelu(x) = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2    (Hendrycks & Gimpel 2016, the exact form)
//
// SPDX-License-Identifier: MIT
#pragma once

#include <numbers>

#include "ddpm/core/elementwise.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// 1 / (1 + exp(-x)) on packs; right at both ends of the range.
struct Sigmoid {
  template <class P>
  P operator()(const P& x) const {
    return P(1) / (P(1) + simd::exp(-x));
  }
};

struct Silu {
  template <class P>
  P operator()(const P& x) const {
    return x * Sigmoid()(x);
  }
};

/// dy silu'(x), silu'(x) = s (1 + x (1 - s)) with s = sigmoid(x).
template <class SigmoidOf>
struct SiluBackwardBy {
  template <class P>
  P operator()(const P& dy, const P& x) const {
    const P s = SigmoidOf()(x);
    return dy * s * (P(1) + x * (P(1) - s));
  }
};
using SiluBackward = SiluBackwardBy<Sigmoid>;

struct Gelu {
  template <class P>
  P operator()(const P& x) const {
    using T = typename P::value_type;
    const P half(T(0.5));
    return x * (half + half * simd::erf(x * P(T(1 / std::numbers::sqrt2))));
  }
};

/// dy gelu'(x), gelu'(x) = Phi(x) + x phi(x).
struct GeluBackward {
  template <class P>
  P operator()(const P& dy, const P& x) const {
    using T = typename P::value_type;
    const P half(T(0.5)), density(T(std::numbers::inv_sqrtpi / std::numbers::sqrt2));
    const P cdf = half + half * simd::erf(x * P(T(1 / std::numbers::sqrt2)));
    return dy * (cdf + x * density * simd::exp(-half * x * x));
  }
};

template <class T>
void silu_forward(View<const T> x, View<T> y) {
  elementwise<T>(Silu(), y, x);
}
/// With L = <dy, y>, writes dx. Throws PreconditionError if shapes differ.
template <class T>
void silu_backward(View<const T> dy, View<const T> x, View<T> dx) {
  require_shape("silu_backward: dy", dy.shape, x.shape);
  require_shape("silu_backward: dx", dx.shape, x.shape);
  elementwise<T>(SiluBackward(), dx, dy, x);
}

template <class T>
void gelu_forward(View<const T> x, View<T> y) {
  elementwise<T>(Gelu(), y, x);
}
/// With L = <dy, y>, writes dx. Throws PreconditionError if shapes differ.
template <class T>
void gelu_backward(View<const T> dy, View<const T> x, View<T> dx) {
  require_shape("gelu_backward: dy", dy.shape, x.shape);
  require_shape("gelu_backward: dx", dx.shape, x.shape);
  elementwise<T>(GeluBackward(), dx, dy, x);
}

template <class T>
void add(View<const T> a, View<const T> b, View<T> sum) {
  elementwise<T>([](const auto& u, const auto& v) { return u + v; }, sum, a, b);
}

template <class T>
void multiply_elements(View<const T> a, View<const T> b, View<T> product) {
  elementwise<T>([](const auto& u, const auto& v) { return u * v; }, product, a, b);
}

/// y = factor x.
template <class T>
void scale(View<const T> x, T factor, View<T> y) {
  elementwise<T>([factor](const auto& v) { return v * factor; }, y, x);
}

}  // namespace ddpm::DDPM_ABI::kernels
