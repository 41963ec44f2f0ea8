// Pooling and upsampling as differentiable ops. Maths: kernels/pooling.hpp, kernels/upsample.hpp.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/kernels/pooling.hpp"
#include "ddpm/kernels/upsample.hpp"

namespace ddpm::DDPM_ABI {

/// The largest value of each k x k window of x (N, H, W, C). Keeps x and the result alive.
/// Throws PreconditionError if no window fits.
template <class T>
Variable<T> max_pool2d(const Variable<T>& x, Index k = 2) {
  Tensor<T> y(kernels::pool2d_shape(x.shape(), k));
  kernels::max_pool2d_forward<T>(x.view(), k, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::max_pool2d_backward<T>(dy, x.view(), y, k, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

/// The mean of each k x k window of x (N, H, W, C).
/// Throws PreconditionError if no window fits.
template <class T>
Variable<T> avg_pool2d(const Variable<T>& x, Index k = 2) {
  Tensor<T> y(kernels::pool2d_shape(x.shape(), k));
  kernels::avg_pool2d_forward<T>(x.view(), k, y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::avg_pool2d_backward<T>(dy, k, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

/// x (N, H, W, C) enlarged to height x width pixels by nearest neighbour.
/// Throws PreconditionError if that is smaller than x.
template <class T>
Variable<T> upsample_nearest(const Variable<T>& x, Index height, Index width) {
  require(x.shape().rank() == 4, "upsample: x is ", x.shape(), ", expected (N, H, W, C)");
  Tensor<T> y({x.dim(0), height, width, x.dim(3)});
  kernels::upsample_nearest_forward<T>(x.view(), y);
  const auto backward = [=](const Tensor<T>& dy) -> Gradients<T, 1> {
    const Tensor<T> dx = x.new_grad();
    kernels::upsample_nearest_backward<T>(dy, dx);
    return {dx};
  };
  return Variable<T>::output(y, {x}, backward);
}

}  // namespace ddpm::DDPM_ABI
