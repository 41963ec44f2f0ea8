// Plain twins of the kernels: the textbook loops, in double whatever T is. Truth for the tests,
// baseline for the benchmarks.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "ddpm/core/precision.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/conv/conv2d.hpp"

namespace reference {

using ddpm::Index;
using ddpm::Tensor;

/// A value rounded to 8 bits of mantissa, to nearest, ties to even: bfloat16, for normal values.
inline float bfloat16(float value) {
  int exponent = 0;
  const double mantissa = std::frexp(double(value), &exponent);
  return float(std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8));
}

inline Tensor<float> bfloat16(const Tensor<float>& a) {
  Tensor<float> result(a.shape());
  for (Index i = 0; i < a.size(); ++i) result[i] = bfloat16(a[i]);
  return result;
}

/// What a product of T reads at this thread's precision: the values, or each rounded to bfloat16.
template <class T>
Tensor<T> operand(const Tensor<T>& a) {
  if constexpr (std::is_same_v<T, float>)
    if (ddpm::matmul_precision() == ddpm::Precision::bfloat16) return bfloat16(a);
  return a;
}

template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  Tensor<T> c({a.dim(0), b.dim(1)});
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < b.dim(1); ++j) {
      double sum = 0;
      for (Index k = 0; k < a.dim(1); ++k)
        sum += double(a[i * a.dim(1) + k]) * double(b[k * b.dim(1) + j]);
      c[i * c.dim(1) + j] = T(sum);
    }
  return c;
}

template <class T>
Tensor<T> transpose(const Tensor<T>& a) {
  Tensor<T> result({a.dim(1), a.dim(0)});
  for (Index i = 0; i < a.dim(0); ++i)
    for (Index j = 0; j < a.dim(1); ++j) result[j * a.dim(0) + i] = a[i * a.dim(1) + j];
  return result;
}

/// Calls f(n, oh, ow, kh, kw, ih, iw) for every tap of every pixel of the small map that falls into
/// the large one.
template <class F>
void for_each_tap(Index N, Index OH, Index OW, Index H, Index W, Index KH, Index KW,
                  const ddpm::ConvGeometry& g, const F& f) {
  for (Index n = 0; n < N; ++n)
    for (Index oh = 0; oh < OH; ++oh)
      for (Index ow = 0; ow < OW; ++ow)
        for (Index kh = 0; kh < KH; ++kh)
          for (Index kw = 0; kw < KW; ++kw) {
            const Index ih = oh * g.stride + kh - g.padding.top;
            const Index iw = ow * g.stride + kw - g.padding.left;
            if (ih >= 0 && ih < H && iw >= 0 && iw < W) f(n, oh, ow, kh, kw, ih, iw);
          }
}

inline Index at(const ddpm::Shape& s, Index n, Index h, Index w, Index c) {
  return ((n * s[1] + h) * s[2] + w) * s[3] + c;
}

template <class T>
Tensor<T> to(const Tensor<double>& x) {
  Tensor<T> result(x.shape());
  for (Index i = 0; i < x.size(); ++i) result[i] = T(x[i]);
  return result;
}

/// conv2d with bias (C_out); output size as given.
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias,
                 const ddpm::ConvGeometry& g, Index OH, Index OW) {
  const Index CI = w.dim(2), CO = w.dim(3);
  Tensor<double> y({x.dim(0), OH, OW, CO});
  for (Index i = 0; i < y.size(); ++i) y[i] = double(bias[i % CO]);
  for_each_tap(x.dim(0), OH, OW, x.dim(1), x.dim(2), w.dim(0), w.dim(1), g,
               [&](Index n, Index oh, Index ow, Index kh, Index kw, Index ih, Index iw) {
                 for (Index co = 0; co < CO; ++co)
                   for (Index ci = 0; ci < CI; ++ci)
                     y[at(y.shape(), n, oh, ow, co)] += double(x[at(x.shape(), n, ih, iw, ci)]) *
                                                        double(w[at(w.shape(), kh, kw, ci, co)]);
               });
  return to<T>(y);
}

template <class T>
Tensor<T> conv2d_dx(const Tensor<T>& dy, const Tensor<T>& w, const ddpm::Shape& x,
                    const ddpm::ConvGeometry& g) {
  Tensor<double> dx(x, 0.0);
  for_each_tap(x[0], dy.dim(1), dy.dim(2), x[1], x[2], w.dim(0), w.dim(1), g,
               [&](Index n, Index oh, Index ow, Index kh, Index kw, Index ih, Index iw) {
                 for (Index ci = 0; ci < w.dim(2); ++ci)
                   for (Index co = 0; co < w.dim(3); ++co)
                     dx[at(x, n, ih, iw, ci)] += double(dy[at(dy.shape(), n, oh, ow, co)]) *
                                                 double(w[at(w.shape(), kh, kw, ci, co)]);
               });
  return to<T>(dx);
}

template <class T>
Tensor<T> conv2d_dw(const Tensor<T>& dy, const Tensor<T>& x, const ddpm::Shape& w,
                    const ddpm::ConvGeometry& g) {
  Tensor<double> dw(w, 0.0);
  for_each_tap(x.dim(0), dy.dim(1), dy.dim(2), x.dim(1), x.dim(2), w[0], w[1], g,
               [&](Index n, Index oh, Index ow, Index kh, Index kw, Index ih, Index iw) {
                 for (Index ci = 0; ci < w[2]; ++ci)
                   for (Index co = 0; co < w[3]; ++co)
                     dw[at(w, kh, kw, ci, co)] += double(dy[at(dy.shape(), n, oh, ow, co)]) *
                                                  double(x[at(x.shape(), n, ih, iw, ci)]);
               });
  return to<T>(dw);
}

/// Transposed convolution: scatters every input pixel.
template <class T>
Tensor<T> conv_transpose2d(const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias,
                           const ddpm::ConvGeometry& g, Index OH, Index OW) {
  const Index CO = w.dim(3);
  Tensor<double> y({x.dim(0), OH, OW, CO});
  for (Index i = 0; i < y.size(); ++i) y[i] = double(bias[i % CO]);
  for_each_tap(x.dim(0), x.dim(1), x.dim(2), OH, OW, w.dim(0), w.dim(1), g,
               [&](Index n, Index h, Index ww, Index kh, Index kw, Index oh, Index ow) {
                 for (Index ci = 0; ci < w.dim(2); ++ci)
                   for (Index co = 0; co < CO; ++co)
                     y[at(y.shape(), n, oh, ow, co)] += double(x[at(x.shape(), n, h, ww, ci)]) *
                                                        double(w[at(w.shape(), kh, kw, ci, co)]);
               });
  return to<T>(y);
}

template <class T>
Tensor<T> group_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta,
                     Index groups, double eps) {
  const Index N = x.dim(0), P = x.dim(1) * x.dim(2), C = x.dim(3), size = C / groups;
  Tensor<T> y(x.shape());
  for (Index n = 0; n < N; ++n)
    for (Index g = 0; g < groups; ++g) {
      double mean = 0, variance = 0;
      const auto value = [&](Index p, Index c) {
        return double(x[(n * P + p) * C + g * size + c]);
      };
      for (Index p = 0; p < P; ++p)
        for (Index c = 0; c < size; ++c) mean += value(p, c);
      mean /= double(P * size);
      for (Index p = 0; p < P; ++p)
        for (Index c = 0; c < size; ++c) variance += std::pow(value(p, c) - mean, 2);
      variance /= double(P * size);
      for (Index p = 0; p < P; ++p)
        for (Index c = 0; c < size; ++c) {
          const Index channel = g * size + c;
          y[(n * P + p) * C + channel] =
              T((value(p, c) - mean) / std::sqrt(variance + eps) * double(gamma[channel]) +
                double(beta[channel]));
        }
    }
  return y;
}

/// Attention of qkv (N, H, W, 3 C), one query at a time.
template <class T>
Tensor<T> attention(const Tensor<T>& qkv, Index heads) {
  const Index N = qkv.dim(0), P = qkv.dim(1) * qkv.dim(2), C = qkv.dim(3) / 3, D = C / heads;
  Tensor<T> y({N, qkv.dim(1), qkv.dim(2), C});
  const auto value = [&](Index n, Index p, Index part, Index c) {
    return double(qkv[(n * P + p) * 3 * C + part * C + c]);
  };
  for (Index n = 0; n < N; ++n)
    for (Index head = 0; head < heads; ++head)
      for (Index p = 0; p < P; ++p) {
        std::vector<double> weight(static_cast<std::size_t>(P));
        double largest = -1e300, total = 0;
        for (Index q = 0; q < P; ++q) {
          double dot = 0;
          for (Index d = 0; d < D; ++d)
            dot += value(n, p, 0, head * D + d) * value(n, q, 1, head * D + d);
          weight[std::size_t(q)] = dot / std::sqrt(double(D));
          largest = std::max(largest, weight[std::size_t(q)]);
        }
        for (double& w : weight) total += w = std::exp(w - largest);
        for (Index d = 0; d < D; ++d) {
          double sum = 0;
          for (Index q = 0; q < P; ++q)
            sum += weight[std::size_t(q)] * value(n, q, 2, head * D + d);
          y[(n * P + p) * C + head * D + d] = T(sum / total);
        }
      }
  return y;
}

}  // namespace reference
