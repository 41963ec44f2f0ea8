#include "ddpm/kernels/softmax.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("softmax [NU-2]: rows sum to 1, at any scale", T, float, double) {
  for (const Index columns : {1, 2, 17, 49, 256}) {
    auto x = random_tensor<T>({3, columns}, 1);
    for (Index j = 0; j < columns; ++j) x.view().row(2)[j] *= T(1e4);
    const Tensor<T> y(x.shape());
    kernels::softmax_forward<T>(x, y);
    for (Index i = 0; i < 3; ++i) {
      double sum = 0, expected = 0;
      for (Index j = 0; j < columns; ++j) {
        sum += double(y.view().row(i)[j]);
        expected += std::exp(double(x.view().row(i)[j] - x.view().row(i)[0]));
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
      if (i < 2) CHECK(double(y.view().row(i)[0]) == doctest::Approx(1 / expected).epsilon(1e-5));
    }
  }
}
