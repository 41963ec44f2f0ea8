#include "ddpm/kernels/pooling.hpp"

#include "../support.hpp"

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
