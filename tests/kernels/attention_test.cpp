#include "ddpm/kernels/attention.hpp"

#include "../reference/reference.hpp"
#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("attention: forward against the plain loops", T, float, double) {
  const std::array<Index, 4> sizes[] = {
      {1, 1, 1, 1}, {3, 5, 6, 2}, {7, 7, 13, 1}, {4, 4, 64, 4}, {16, 16, 40, 1}};
  for (const auto& size : sizes) {
    const Index H = size[0], W = size[1], C = size[2], heads = size[3];
    CAPTURE(H);
    CAPTURE(C);
    CAPTURE(heads);
    const auto qkv = random_tensor<T>({2, H, W, 3 * C}, 1);
    const Tensor<T> y({2, H, W, C}), again(y.shape()), scales({2 * heads, H * W, 2});
    kernels::attention_forward<T>(qkv, heads, y, scales);
    CHECK(relative_difference<T>(y, reference::attention(qkv, heads)) < 4 * tolerance<T>(H * W));
    kernels::attention_forward<T>(qkv, heads, again, {});
    CHECK(same_bits(y, again));
  }
}

TEST_CASE("attention: bfloat16 is near the plain loops, as near as rounding allows") {
  const PrecisionScope scope(Precision::bfloat16);
  for (const Index C : {6, 26, 64, 128}) {
    CAPTURE(C);
    const auto qkv = random_tensor<float>({2, 8, 8, 3 * C}, 1);
    const Tensor<float> y({2, 8, 8, C});
    kernels::attention_forward<float>(qkv, 2, y, {});
    const Tensor<float> exact = reference::attention(qkv, 2);
    const double difference = relative_difference<float>(y, exact);
    CHECK(difference < 0.05);  // the largest of thousands; a factor is off by 2^-8 at most
    CHECK(difference > 1e-4);
  }
}

TEST_CASE("attention: in bfloat16 any number of tokens and channels, image by image") {
  const PrecisionScope scope(Precision::bfloat16);
  const std::array<Index, 4> sizes[] = {{1, 1, 1, 1},  {3, 5, 6, 2},   {7, 7, 13, 1},
                                        {4, 4, 64, 4}, {5, 13, 96, 2}, {16, 16, 40, 1}};
  for (const auto& size : sizes) {
    const Index H = size[0], W = size[1], C = size[2], heads = size[3];
    CAPTURE(H);
    CAPTURE(C);
    auto qkv = random_tensor<float>({3, H, W, 3 * C}, 1);
    const Tensor<float> y({3, H, W, C}), one({1, H, W, C}), scales({3 * heads, H * W, 2});
    kernels::attention_forward<float>(qkv, heads, y, scales);
    CHECK(relative_difference<float>(y, reference::attention(qkv, heads)) < 0.06);
    kernels::attention_forward<float>(qkv.slice(2, 1), heads, one, {});
    CHECK(same_bits(one, copy_of(y.slice(2, 1))));
    for (Index row = 0; row < 3 * heads * H * W; ++row) {
      CHECK(scales[2 * row + 1] > 0);
      CHECK(scales[2 * row + 1] <= 1);  // the largest of a row's terms is 1
    }
  }
}

TEST_CASE("attention: gradients in bfloat16 are near those in float32, image by image") {
  const std::array<Index, 4> sizes[] = {{1, 1, 1, 1},    {3, 5, 6, 2},   {7, 7, 13, 1},
                                        {4, 4, 64, 4},   {2, 17, 33, 1}, {5, 13, 96, 2},
                                        {16, 16, 40, 1}, {32, 40, 9, 1}};
  for (const auto& size : sizes) {
    const Index H = size[0], W = size[1], C = size[2], heads = size[3];
    CAPTURE(H);
    CAPTURE(C);
    const auto qkv = random_tensor<float>({2, H, W, 3 * C}, 1),
               dy = random_tensor<float>({2, H, W, C}, 2);
    const auto gradient = [&](Precision precision, const Tensor<float>& of,
                              const Tensor<float>& by) {
      const PrecisionScope scope(precision);
      const Tensor<float> y(by.shape()), scales({of.dim(0) * heads, H * W, 2}), result(of.shape());
      kernels::attention_forward<float>(of, heads, y, scales);
      kernels::attention_backward<float>(by, of, scales, heads, result);
      return result;
    };
    const Tensor<float> exact = gradient(Precision::float32, qkv, dy),
                        rounded = gradient(Precision::bfloat16, qkv, dy),
                        one = gradient(Precision::bfloat16, copy_of(qkv.slice(1, 1)),
                                       copy_of(dy.slice(1, 1)));
    CHECK(same_bits(one, copy_of(rounded.slice(1, 1))));
    double squares = 0, all = 0;
    for (Index i = 0; i < exact.size(); ++i) {
      squares += std::pow(double(rounded[i]) - double(exact[i]), 2);
      all += std::pow(double(exact[i]), 2);
    }
    CHECK(std::sqrt(squares / all) < 0.02);
    CHECK(squares > 0);
  }
}

TEST_CASE("attention: scores of 1e4 stay finite") {
  auto qkv = random_tensor<float>({1, 4, 4, 24}, 1);
  for (float& v : qkv) v *= 100;
  const Tensor<float> y({1, 4, 4, 8});
  kernels::attention_forward<float>(qkv, 1, y, {});
  for (const float v : y) CHECK(std::isfinite(v));
}

TEST_CASE("attention: heads that do not divide") {
  const Tensor<float> qkv({1, 2, 2, 18}, 0.0F), y({1, 2, 2, 6});
  CHECK(contains(
      error_of<PreconditionError>([&] { kernels::attention_forward<float>(qkv, 4, y, {}); }),
      "6 channels do not split into 4 heads"));
}
