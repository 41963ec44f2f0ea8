// What the tests of the optimisers share.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "../support.hpp"

namespace test {

inline void set_grad(const Variable<double>& x, const Tensor<double>& grad) {
  x.zero_grad();
  x.backward(grad);  // of a leaf: takes the seed as its gradient
}

}  // namespace test
