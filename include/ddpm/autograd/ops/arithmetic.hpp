// Sums and products as differentiable ops. Maths: kernels/elementwise.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/column_sums.hpp"

namespace ddpm::DDPM_ABI {

/// a + b, of one shape. Throws PreconditionError if shapes differ.
template <class T>
Variable<T> operator+(const Variable<T>& a, const Variable<T>& b) {
  require_shape("operator+: b", b.shape(), a.shape());
  Tensor<T> y(a.shape());
  kernels::add<T>(a.view(), b.view(), y);
  const bool a_wanted = a.requires_grad(), b_wanted = b.requires_grad();
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 2> {
    return {a_wanted ? dy : Tensor<T>(), b_wanted ? dy : Tensor<T>()};
  };
  return Variable<T>::output(y, {a, b}, backward);
}

/// a * b element by element, of one shape. Throws PreconditionError if shapes differ.
template <class T>
Variable<T> operator*(const Variable<T>& a, const Variable<T>& b) {
  require_shape("operator*: b", b.shape(), a.shape());
  Tensor<T> y(a.shape());
  kernels::multiply_elements<T>(a.view(), b.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 2> {
    const Tensor<T> da = a.new_grad(), db = b.new_grad();
    if (!da.empty()) kernels::multiply_elements<T>(dy, b.view(), da);
    if (!db.empty()) kernels::multiply_elements<T>(dy, a.view(), db);
    return {da, db};
  };
  return Variable<T>::output(y, {a, b}, backward);
}

/// factor * x.
template <class T>
Variable<T> operator*(std::type_identity_t<T> factor, const Variable<T>& x) {
  Tensor<T> y(x.shape());
  kernels::scale<T>(x.view(), factor, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::scale<T>(dy, factor, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

/// x (N, C) with row (C) added to each of its rows. Throws PreconditionError if shapes disagree.
template <class T>
Variable<T> add_row(const Variable<T>& x, const Variable<T>& row) {
  require(x.shape().rank() == 2, "add_row: x is ", x.shape(), ", expected (N, C)");
  require_shape("add_row: row", row.shape(), {x.dim(1)});
  Tensor<T> y(x.shape());
  const Tensor<T> in = x.value(), added = row.value();
  const auto sum = [](const auto& u, const auto& v) { return u + v; };
  for (Index n = 0; n < x.dim(0); ++n)
    simd::map<T>(sum, x.dim(1), y.view().row(n), in.view().row(n), added.data());
  const bool x_wanted = x.requires_grad();
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 2> {
    const Tensor<T> drow = row.new_grad();
    if (!drow.empty()) kernels::column_sums<T>(dy, drow);
    return {x_wanted ? dy : Tensor<T>(), drow};
  };
  return Variable<T>::output(y, {x, row}, backward);
}

}  // namespace ddpm::DDPM_ABI
