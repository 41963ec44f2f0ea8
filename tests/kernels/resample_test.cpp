#include "../support.hpp"
#include "ddpm/kernels/concat.hpp"
#include "ddpm/kernels/pooling.hpp"
#include "ddpm/kernels/upsample.hpp"

using namespace test;

TEST_CASE_TEMPLATE("pooling: maximum and mean of each window, odd maps", T, float, double) {
  for (const auto& [H, W, C, k] : {std::array<Index, 4>{2, 2, 1, 2},
                                   {7, 7, 5, 2},
                                   {28, 28, 3, 2},
                                   {9, 11, 17, 3},
                                   {4, 4, 33, 1}}) {
    const auto x = random_tensor<T>({2, H, W, C}, 1);
    const Tensor<T> largest({2, H / k, W / k, C}), mean(largest.shape());
    kernels::max_pool2d_forward<T>(x, k, largest);
    kernels::avg_pool2d_forward<T>(x, k, mean);
    for (Index i = 0; i < largest.size(); ++i) {
      const Index c = i % C, ow = i / C % (W / k), oh = i / C / (W / k) % (H / k);
      const Index n = i / C / (W / k) / (H / k);
      double top = -1e30, sum = 0;
      for (Index h = oh * k; h < oh * k + k; ++h)
        for (Index w = ow * k; w < ow * k + k; ++w) {
          const double v = double(x[((n * H + h) * W + w) * C + c]);
          top = std::max(top, v);
          sum += v;
        }
      CHECK(double(largest[i]) == top);
      CHECK(double(mean[i]) == doctest::Approx(sum / double(k * k)).epsilon(1e-5));
    }
  }
  CHECK_THROWS_AS(kernels::pool2d_shape({1, 1, 4, 3}, 2), PreconditionError);
}

TEST_CASE("max_pool2d: of equal values the first gets the gradient") {
  const Tensor<float> x({1, 2, 2, 1}, 3.0F), y({1, 1, 1, 1}, 3.0F), dy({1, 1, 1, 1}, 5.0F);
  const Tensor<float> dx(x.shape());
  kernels::max_pool2d_backward<float>(dy, x, y, 2, dx);
  CHECK((dx[0] == 5 && dx[1] == 0 && dx[2] == 0 && dx[3] == 0));
}

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

TEST_CASE("concat: channels side by side, and back") {
  const auto a = random_tensor<float>({2, 3, 3, 5}, 1), b = random_tensor<float>({2, 3, 3, 17}, 2);
  const Tensor<float> y({2, 3, 3, 22}), da(a.shape()), db(b.shape());
  kernels::concat_forward<float>(a, b, y);
  CHECK(y[22 + 4] == a[5 + 4]);
  CHECK(y[22 + 5] == b[17]);
  kernels::concat_backward<float>(y, 5, da, db);
  CHECK(same_bits(a, da));
  CHECK(same_bits(b, db));
  const Tensor<float> wrong({2, 3, 2, 17}, 0.0F);
  CHECK_THROWS_AS(kernels::concat_forward<float>(a, wrong, y), PreconditionError);
}
