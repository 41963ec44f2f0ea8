#include "ddpm/kernels/mse.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("mse: against the formula", T, float, double) {
  for (const Index size : {1, 7, 4097, 20000}) {
    const auto a = random_tensor<T>({size}, 1), b = random_tensor<T>({size}, 2);
    double sum = 0;
    for (Index i = 0; i < size; ++i) sum += std::pow(double(a[i]) - double(b[i]), 2);
    const Tensor<T> loss({1});
    kernels::mse_forward<T>(a, b, loss);
    CHECK(double(loss[0]) == doctest::Approx(sum / double(size)).epsilon(tolerance<T>(size)));
    // Parts: the mean of their losses is the loss of the whole.
    const Tensor<T> pair({2, size}), other({2, size}), losses({2}), whole({1});
    for (Index i = 0; i < 2 * size; ++i) {
      pair[i] = i < size ? a[i] : b[i - size];
      other[i] = i < size ? b[i] : T(0.5) * b[i - size];
    }
    kernels::mse_forward<T>(pair, other, losses);
    kernels::mse_forward<T>(pair, other, whole);
    CHECK(losses[0] == loss[0]);
    CHECK(double(losses[0] + losses[1]) / 2 ==
          doctest::Approx(double(whole[0])).epsilon(tolerance<T>(size)));
  }
  const Tensor<float> empty({0}), a({2}, 0.0F), b({3}, 0.0F);
  const Tensor<float> one({1}), three({3});
  CHECK_THROWS_AS(kernels::mse_forward<float>(empty, empty, one), PreconditionError);
  CHECK_THROWS_AS(kernels::mse_forward<float>(a, b, one), PreconditionError);
  CHECK_THROWS_AS(kernels::mse_forward<float>(a, a, three), PreconditionError);
}
