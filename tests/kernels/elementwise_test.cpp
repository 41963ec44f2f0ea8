#include "ddpm/kernels/elementwise.hpp"

#include <numbers>

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("silu and gelu: against the formulas in double", T, float, double) {
  Tensor<T> x({1001});
  for (Index i = 0; i < 1001; ++i) x[i] = T(-20 + 0.04 * double(i));
  const Tensor<T> s(x.shape()), g(x.shape());
  kernels::silu_forward<T>(x, s);
  kernels::gelu_forward<T>(x, g);
  const double eps = std::numeric_limits<T>::epsilon();
  for (Index i = 0; i < 1001; ++i) {
    const double v = double(x[i]);
    CHECK(std::abs(double(s[i]) - v / (1 + std::exp(-v))) <= 8 * eps * (std::abs(v) + 1));
    const double cdf = 0.5 * std::erfc(-v / std::numbers::sqrt2);
    // The error function of xsimd is right to some fifty units in the last place in double.
    CHECK(std::abs(double(g[i]) - v * cdf) <= 64 * eps * (std::abs(v) + 1));
  }
}

TEST_CASE("silu: the ends of the range") {
  const Tensor<float> x({3}, {-1e4F, 0.0F, 1e4F}), y({3});
  kernels::silu_forward<float>(x, y);
  CHECK(std::abs(y[0]) < 1e-6F);
  CHECK(y[1] == 0.0F);
  CHECK(y[2] == 1e4F);
}
