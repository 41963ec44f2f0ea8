#include "ddpm/kernels/column_sums.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("column_sums: over all pixels and within images, narrow and wide", T, float,
                   double) {
  for (const Index C : {1, 3, 8, 17, 40}) {
    const auto x = random_tensor<T>({3, 5, 7, C}, std::uint64_t(C));
    const Tensor<T> sums({C}), by_image({3, C});
    kernels::column_sums<T>(x, sums);
    kernels::column_sums<T>(x, by_image);
    Tensor<double> all({C}, 0.0), each({3, C}, 0.0);
    for (Index i = 0; i < x.size(); ++i) {
      all[i % C] += double(x[i]);
      each[i / (35 * C) * C + i % C] += double(x[i]);
    }
    for (Index i = 0; i < C; ++i)
      CHECK(double(sums[i]) == doctest::Approx(all[i]).epsilon(1e-4).scale(10));
    for (Index i = 0; i < 3 * C; ++i)
      CHECK(double(by_image[i]) == doctest::Approx(each[i]).epsilon(1e-4).scale(10));
  }
}
