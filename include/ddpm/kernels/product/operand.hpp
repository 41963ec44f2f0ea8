// What a product reads in bfloat16 on a processor that has no products of pairs: a rounded copy,
// for the kernels of floats. In float32, and where there are pairs, what was given.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/bfloat16.hpp"
#include "ddpm/core/elementwise.hpp"
#include "ddpm/core/scratch.hpp"

namespace ddpm::DDPM_ABI::kernels {

/// A factor of products of T at this thread's precision. Lives as Scratch does.
template <class T>
class Operand {
 public:
  explicit Operand(View<const T> values) : values_(values) {}
  View<const T> view() const { return values_; }

 private:
  View<const T> values_;
};

#ifndef DDPM_PAIRS

template <>
class Operand<float> {
 public:
  explicit Operand(View<const float> values)
      : values_(values), copy_(rounds() ? values.size() : 0) {
    if (!rounds()) return;
    const View<float> copy(copy_.data(), values.shape);
    elementwise<float>([](const auto& pack) { return simd::rounded(pack); }, copy, values);
    values_ = copy;
  }
  View<const float> view() const { return values_; }

 private:
  static bool rounds() { return matmul_precision() == Precision::bfloat16; }

  View<const float> values_;
  Scratch<float> copy_;
};

#endif

}  // namespace ddpm::DDPM_ABI::kernels
