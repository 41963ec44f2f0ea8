#include "ddpm/kernels/elementwise.hpp"

#include <numbers>

#include "../support.hpp"
#include "ddpm/kernels/cross_entropy.hpp"
#include "ddpm/kernels/dropout.hpp"
#include "ddpm/kernels/mse.hpp"
#include "ddpm/kernels/softmax.hpp"
#include "ddpm/kernels/time_embedding.hpp"

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

TEST_CASE_TEMPLATE("softmax: rows sum to 1, at any scale", T, float, double) {
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

TEST_CASE("dropout: keeps its share, scales it, and is a function of the generator") {
  const Tensor<float> x({100003}, 1.0F), y(x.shape()), again(x.shape()), other(x.shape());
  kernels::dropout<float>(x, 0.3, Rng(1), y);
  kernels::dropout<float>(x, 0.3, Rng(1), again);
  kernels::dropout<float>(x, 0.3, Rng(2), other);
  CHECK(same_bits(y, again));
  CHECK_FALSE(same_bits(y, other));
  Index kept = 0;
  for (const float v : y) {
    CHECK((v == 0.0F || v == doctest::Approx(1 / 0.7)));
    kept += v != 0.0F;
  }
  CHECK(std::abs(double(kept) / 100003 - 0.7) < 5 * std::sqrt(0.21 / 100003));
  CHECK_THROWS_AS(kernels::dropout<float>(x, 1.0, Rng(1), y), PreconditionError);
  CHECK_THROWS_AS(kernels::dropout<float>(x, -0.1, Rng(1), y), PreconditionError);
}

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

TEST_CASE("time_embedding: sines, cosines, a zero for odd dimensions") {
  const std::array<double, 3> t{0, 1, 999};
  const Tensor<double> e({3, 9});
  kernels::time_embedding<double>(t, e);
  for (Index n = 0; n < 3; ++n)
    for (Index i = 0; i < 4; ++i) {
      const double angle = double(t[std::size_t(n)]) * std::pow(10000.0, -double(i) / 3);
      CHECK(e.view().row(n)[i] == doctest::Approx(std::sin(angle)));
      CHECK(e.view().row(n)[4 + i] == doctest::Approx(std::cos(angle)));
      CHECK(e.view().row(n)[8] == 0);
    }
  CHECK_THROWS_AS(kernels::time_embedding<double>(t, Tensor<double>({3, 3})), PreconditionError);
}
