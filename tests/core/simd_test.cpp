#include "ddpm/core/elementwise.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("simd: an element's bits do not depend on its place", T, float, double) {
  const auto x = random_tensor<T>({200}, 1);
  const auto f = [](const auto& v) { return xsimd::exp(v) / (v * v + 1); };
  Tensor<T> whole({200}), shifted({200});
  simd::map<T>(f, 200, whole.data(), x.data());
  for (const Index start : {1, 3, 7, 11}) {
    simd::map<T>(f, 200 - start, shifted.data(), x.data() + start);
    CHECK(std::memcmp(shifted.data(), whole.data() + start,
                      static_cast<std::size_t>(200 - start) * sizeof(T)) == 0);
  }
}

TEST_CASE_TEMPLATE("simd: map and sum at odd sizes", T, float, double) {
  for (const Index count : {0, 1, 2, 3, 7, 16, 17, 31, 33, 100}) {
    const auto a = random_tensor<T>({count + 1}, 2), b = random_tensor<T>({count + 1}, 3);
    Tensor<T> y({count + 1}, T(-5));
    simd::map<T>([](const auto& u, const auto& v) { return simd::fma(u, v, u); }, count, y.data(),
                 a.data(), b.data());
    double expected = 0;
    for (Index i = 0; i < count; ++i) {
      CHECK(std::abs(double(y[i]) - double(a[i]) * (double(b[i]) + 1)) < 1e-5);
      expected += double(a[i]) * double(b[i]);
    }
    CHECK(y[count] == T(-5));  // nothing behind the end is touched
    const T dot =
        simd::sum([](const auto& u, const auto& v) { return u * v; }, count, a.data(), b.data());
    CHECK(std::abs(double(dot) - expected) < tolerance<T>(count) * 10);
  }
}

TEST_CASE("elementwise: sizes must agree") {
  const Tensor<float> a({3}, 1.0F), b({4}, 1.0F);
  const auto f = [](const auto& v) { return v; };
  CHECK_THROWS_AS(elementwise<float>(f, b.view(), a), PreconditionError);
}
