#include "ddpm/kernels/cross_entropy.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("cross_entropy: against the formula, and far beyond exp's range", T, float,
                   double) {
  for (const Index K : {1, 2, 10, 17}) {
    const auto x = random_tensor<T>({3, 1, 1, K}, 1);
    for (Index k = 0; k < K; ++k) x[k] += T(1000);
    const std::vector<Index> labels{0, K - 1, K / 2};
    const Tensor<T> losses({3});
    kernels::cross_entropy_forward<T>(x, labels, losses);
    for (Index n = 0; n < 3; ++n) {
      const double label = double(x[n * K + labels[std::size_t(n)]]);
      double sum = 0;
      for (Index k = 0; k < K; ++k) sum += std::exp(double(x[n * K + k]) - label);
      CHECK(double(losses[n]) == doctest::Approx(std::log(sum)).epsilon(1000 * tolerance<T>(K)));
    }
  }
  const Tensor<float> x({2, 3}, 0.0F), losses({2});
  const auto error = [&](std::vector<Index> labels) {
    return error_of<PreconditionError>(
        [&] { kernels::cross_entropy_forward<float>(x, labels, losses); });
  };
  CHECK(contains(error({0, 3}), "label 1 is 3, expected 0 to 2"));
  CHECK(contains(error({0}), "for 1 labels"));
}
