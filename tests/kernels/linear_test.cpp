#include "ddpm/kernels/linear.hpp"

#include "../reference/reference.hpp"
#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("linear: forward and gradients against the plain loops", T, float, double) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16})
    for (const auto [M, K, N] :
         {std::array<Index, 3>{1, 1, 1}, {7, 13, 5}, {33, 17, 64}, {40, 64, 96}}) {
      const PrecisionScope scope(precision);
      const auto x = random_tensor<T>({M, K}, 1), w = random_tensor<T>({K, N}, 2),
                 bias = random_tensor<T>({N}, 3), dy = random_tensor<T>({M, N}, 4);
      const Tensor<T> y({M, N}), dx({M, K}), dw({K, N}), dbias({N});
      kernels::linear_forward<T>(x, w, bias, y);
      const auto rx = reference::operand(x), rw = reference::operand(w),
                 rdy = reference::operand(dy);
      auto expected = reference::matmul(rx, rw);
      for (Index i = 0; i < expected.size(); ++i) expected[i] += bias[i % N];
      CHECK(relative_difference<T>(y, expected) < tolerance<T>(K));
      kernels::linear_backward<T>(dy, x, w, dx, dw, dbias);
      CHECK(relative_difference<T>(dx, reference::matmul(rdy, reference::transpose(rw))) <
            tolerance<T>(N));
      CHECK(relative_difference<T>(dw, reference::matmul(reference::transpose(rx), rdy)) <
            tolerance<T>(M));
      CHECK(relative_difference<T>(dbias,
                                   reference::matmul(Tensor<T>({1, M}, T(1)), dy).reshape({N})) <
            tolerance<T>(M));
    }
}
