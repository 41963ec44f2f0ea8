#include "ddpm/kernels/upsample.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("upsample: every output pixel is its nearest input, odd sizes", T, float,
                   double) {
  for (const auto& [H, W, OH, OW] :
       {std::array<Index, 4>{1, 1, 2, 2}, {3, 3, 7, 7}, {7, 7, 14, 14}, {2, 3, 5, 3}}) {
    const auto x = random_tensor<T>({2, H, W, 5}, 1);
    const Tensor<T> y({2, OH, OW, 5});
    kernels::upsample_nearest_forward<T>(x, y);
    for (Index i = 0; i < y.size(); ++i) {
      const Index c = i % 5, ow = i / 5 % OW, oh = i / 5 / OW % OH, n = i / 5 / OW / OH;
      CHECK(y[i] == x[((n * H + oh * H / OH) * W + ow * W / OW) * 5 + c]);
    }
    // Adjoint: <dy, up(x)> = <up^T(dy), x>.
    const auto dy = random_tensor<T>(y.shape(), 2);
    const Tensor<T> dx(x.shape());
    kernels::upsample_nearest_backward<T>(dy, dx);
    double left = 0, right = 0;
    for (Index i = 0; i < y.size(); ++i) left += double(dy[i]) * double(y[i]);
    for (Index i = 0; i < x.size(); ++i) right += double(dx[i]) * double(x[i]);
    CHECK(left == doctest::Approx(right).epsilon(1e-4));
  }
  const Tensor<float> x({1, 4, 4, 2}, 0.0F), small({1, 3, 4, 2});
  CHECK_THROWS_AS(kernels::upsample_nearest_forward<float>(x, small), PreconditionError);
}
