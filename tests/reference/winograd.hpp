// Winograd's F(4x4, 3x3) in plain loops, with planes rounded to bfloat16: transforms as matrices,
// which follow from the interpolation points 0, +-p, +-q and infinity (Toom-Cook; Lavin & Gray
// 2016, arXiv:1509.09308).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>

#include "reference.hpp"

namespace reference {

class Winograd {
 public:
  Winograd(double p, double q) {
    const double points[] = {0, p, -p, q, -q};
    std::vector<double> all{1};
    for (std::size_t j = 0; j < 5; ++j) {
      const double t = points[j];
      std::vector<double> others{1};
      double scale = 1;
      for (std::size_t l = 0; l < 5; ++l)
        if (l != j) {
          others = times(others, points[l]);
          scale /= t - points[l];
        }
      for (std::size_t k = 0; k < 5; ++k) input[j][k] = others[k];
      for (std::size_t k = 0; k < 3; ++k) filter[j][k] = std::pow(t, double(k)) * scale;
      for (std::size_t k = 0; k < 4; ++k) output[k][j] = std::pow(t, double(k));
      all = times(all, t);
    }
    for (std::size_t k = 0; k < 6; ++k) input[5][k] = all[k];
    filter[5][2] = output[3][5] = 1;
  }

  /// conv(x) for x (N, H, W, C) and w (3, 3, C, O).
  Tensor<float> conv2d(const Tensor<float>& x, const Tensor<float>& w,
                       const ddpm::Padding& padding) const {
    const Index C = w.dim(2), O = w.dim(3);
    Tensor<float> y({x.dim(0), x.dim(1) + padding.top + padding.bottom - 2,
                     x.dim(2) + padding.left + padding.right - 2, O});
    const auto inputs = planes(input, x, y.shape(), padding);
    std::vector<Square<6>> kernels;
    for (Index c = 0; c < C; ++c)
      for (Index o = 0; o < O; ++o) kernels.push_back(rounded(sandwich(filter, kernel(w, c, o))));
    std::size_t tile = 0;
    for_each_tile(y.shape(), [&](Index n, Index h, Index v) {
      for (Index o = 0; o < O; ++o) {
        Square<6> sum{};
        for (Index c = 0; c < C; ++c)
          add_product(inputs[tile + std::size_t(c)], kernels[std::size_t(c * O + o)], sum);
        const auto pixels = sandwich(output, sum);
        for (std::size_t i = 0; i < 4; ++i)
          for (std::size_t j = 0; j < 4; ++j)
            if (h + Index(i) < y.dim(1) && v + Index(j) < y.dim(2))
              y[at(y.shape(), n, h + Index(i), v + Index(j), o)] = float(pixels[i][j]);
      }
      tile += std::size_t(C);
    });
    return y;
  }

  /// dw (3, 3, C, O) for x (N, H, W, C) and dy (N, OH, OW, O).
  Tensor<float> conv2d_dw(const Tensor<float>& dy, const Tensor<float>& x,
                          const ddpm::Padding& padding) const {
    const std::size_t C = std::size_t(x.dim(3)), O = std::size_t(dy.dim(3));
    Tensor<float> dw({3, 3, x.dim(3), dy.dim(3)});
    const auto inputs = planes(input, x, dy.shape(), padding);
    const auto slopes = planes(transposed(output), dy, dy.shape(), {});
    for (std::size_t c = 0; c < C; ++c)
      for (std::size_t o = 0; o < O; ++o) {
        Square<6> sum{};
        for (std::size_t tile = 0; tile < inputs.size() / C; ++tile)
          add_product(inputs[tile * C + c], slopes[tile * O + o], sum);
        const auto weights = sandwich(transposed(filter), sum);
        for (std::size_t i = 0; i < 3; ++i)
          for (std::size_t j = 0; j < 3; ++j)
            dw[Index(((i * 3 + j) * C + c) * O + o)] = float(weights[i][j]);
      }
    return dw;
  }

 private:
  template <std::size_t Rows, std::size_t Columns>
  using Matrix = std::array<std::array<double, Columns>, Rows>;
  template <std::size_t Size>
  using Square = Matrix<Size, Size>;

  Matrix<6, 6> input{};
  Matrix<6, 3> filter{};
  Matrix<4, 6> output{};

  /// The coefficients of polynomial (x - root).
  static std::vector<double> times(const std::vector<double>& polynomial, double root) {
    std::vector<double> result(polynomial.size() + 1);
    for (std::size_t k = 0; k < polynomial.size(); ++k) {
      result[k + 1] += polynomial[k];
      result[k] -= root * polynomial[k];
    }
    return result;
  }

  template <std::size_t R, std::size_t C>
  static Matrix<C, R> transposed(const Matrix<R, C>& m) {
    Matrix<C, R> result;
    for (std::size_t i = 0; i < R; ++i)
      for (std::size_t j = 0; j < C; ++j) result[j][i] = m[i][j];
    return result;
  }

  /// m square m^T.
  template <std::size_t R, std::size_t C>
  static Square<R> sandwich(const Matrix<R, C>& m, const Square<C>& square) {
    Square<R> result{};
    for (std::size_t i = 0; i < R; ++i)
      for (std::size_t j = 0; j < R; ++j)
        for (std::size_t k = 0; k < C; ++k)
          for (std::size_t l = 0; l < C; ++l) result[i][j] += m[i][k] * square[k][l] * m[j][l];
    return result;
  }

  static Square<6> rounded(Square<6> square) {
    for (auto& row : square)
      for (double& value : row) value = double(bfloat16(float(value)));
    return square;
  }

  static void add_product(const Square<6>& a, const Square<6>& b, Square<6>& sum) {
    for (std::size_t i = 0; i < 6; ++i)
      for (std::size_t j = 0; j < 6; ++j) sum[i][j] += a[i][j] * b[i][j];
  }

  /// For each tile of `tiled` and each channel of the map the rounded transform of what it sees.
  template <std::size_t Size>
  static std::vector<Square<6>> planes(const Matrix<6, Size>& m, const Tensor<float>& map,
                                       const ddpm::Shape& tiled, const ddpm::Padding& padding) {
    std::vector<Square<6>> result;
    for_each_tile(tiled, [&](Index n, Index h, Index w) {
      for (Index c = 0; c < map.dim(3); ++c)
        result.push_back(
            rounded(sandwich(m, patch<Size>(map, n, h - padding.top, w - padding.left, c))));
    });
    return result;
  }

  template <std::size_t Size>
  static Square<Size> patch(const Tensor<float>& map, Index n, Index top, Index left, Index c) {
    Square<Size> result{};
    for (std::size_t i = 0; i < Size; ++i)
      for (std::size_t j = 0; j < Size; ++j) {
        const Index h = top + Index(i), w = left + Index(j);
        if (h >= 0 && h < map.dim(1) && w >= 0 && w < map.dim(2))
          result[i][j] = double(map[at(map.shape(), n, h, w, c)]);
      }
    return result;
  }

  static Square<3> kernel(const Tensor<float>& w, Index c, Index o) {
    Square<3> result;
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j)
        result[i][j] = double(w[((Index(i) * 3 + Index(j)) * w.dim(2) + c) * w.dim(3) + o]);
    return result;
  }

  template <class F>
  static void for_each_tile(const ddpm::Shape& map, const F& f) {
    for (Index n = 0; n < map[0]; ++n)
      for (Index h = 0; h < map[1]; h += 4)
        for (Index w = 0; w < map[2]; w += 4) f(n, h, w);
  }
};

}  // namespace reference
