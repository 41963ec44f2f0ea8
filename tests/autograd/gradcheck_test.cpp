// Every op's derivative against central differences in double.
#include "ddpm/autograd/gradcheck.hpp"

#include "../support.hpp"
#include "ddpm/autograd/ops/activation.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/autograd/ops/attention.hpp"
#include "ddpm/autograd/ops/concat.hpp"
#include "ddpm/autograd/ops/conv.hpp"
#include "ddpm/autograd/ops/dropout.hpp"
#include "ddpm/autograd/ops/embedding.hpp"
#include "ddpm/autograd/ops/group_norm.hpp"
#include "ddpm/autograd/ops/linear.hpp"
#include "ddpm/autograd/ops/loss.hpp"
#include "ddpm/autograd/ops/resample.hpp"

using namespace test;

namespace {

using V = Variable<double>;
using Inputs = std::vector<V>;

template <class F>
void check(const char* name, const F& f, const std::vector<Shape>& shapes) {
  Inputs inputs;
  for (std::size_t i = 0; i < shapes.size(); ++i)
    inputs.push_back(random_parameter(shapes[i], 10 + i));
  const GradcheckResult result = gradcheck(f, inputs);
  CAPTURE(name);
  CAPTURE(result.input);
  CAPTURE(result.element);
  CAPTURE(result.analytic);
  CAPTURE(result.numeric);
  CHECK(result.error < 1e-6);
}

}  // namespace

TEST_CASE("gradcheck: convolutions") {
  const ConvGeometry same{1, Padding::same(1)}, down{2, Padding::right_and_bottom()};
  for (const auto& geometry : {same, down, ConvGeometry{2, Padding::same(1)}}) {
    const auto conv = [&](const Inputs& in) { return conv2d(in[0], in[1], in[2], geometry); };
    check("conv2d 3x3", conv, {{2, 5, 4, 3}, {3, 3, 3, 5}, {5}});
    if (geometry.padding.top > 0) check("conv2d 1x1 map", conv, {{1, 1, 1, 2}, {3, 3, 2, 3}, {3}});
  }
  const auto enlarged = [&](const Inputs& in) {
    return conv2d(in[0], in[1], {}, {1, Padding::same(1), 5, 7});
  };
  check("conv2d of an enlarged map", enlarged, {{2, 3, 4, 2}, {3, 3, 2, 3}});
  const auto fused = [&](const Inputs& in) { return conv2d(in[0], in[1], in[2], same, in[3]); };
  check("conv2d, bias by image, residual", fused,
        {{2, 3, 3, 2}, {3, 3, 2, 4}, {2, 4}, {2, 3, 3, 4}});
  const auto pointwise = [&](const Inputs& in) { return conv2d(in[0], in[1], in[2]); };
  check("conv2d 1x1", pointwise, {{2, 3, 3, 7}, {1, 1, 7, 2}, {2}});
  for (const Index size : {6, 7}) {
    const auto up = [&](const Inputs& in) {
      return conv_transpose2d(in[0], in[1], in[2], {2, Padding::same(1)}, size, size);
    };
    check("conv_transpose2d", up, {{2, 3, 3, 3}, {4, 4, 3, 2}, {2}});
  }
}

TEST_CASE("gradcheck: products") {
  check("matmul", [](const Inputs& in) { return matmul(in[0], in[1]); }, {{5, 7}, {7, 3}});
  const auto dense = [](const Inputs& in) { return linear(in[0], in[1], in[2]); };
  check("linear", dense, {{5, 7}, {7, 3}, {3}});
  check("product", [](const Inputs& in) { return in[0] * in[1]; }, {{3, 5}, {3, 5}});
  check("square", [](const Inputs& in) { return in[0] * in[0]; }, {{17}});
  check("sum", [](const Inputs& in) { return in[0] + 3.0 * in[1]; }, {{3, 5}, {3, 5}});
  check("add_row", [](const Inputs& in) { return add_row(in[0], in[1]); }, {{4, 5}, {5}});
}

TEST_CASE("gradcheck: normalisation and activations") {
  for (const auto activation : {Activation::none, Activation::silu}) {
    const auto norm = [&](const Inputs& in) {
      return group_norm(in[0], in[1], in[2], 3, 1e-6, activation);
    };
    check("group_norm", norm, {{2, 3, 3, 6}, {6}, {6}});
    check("group_norm, one value a channel", norm, {{2, 1, 1, 9}, {9}, {9}});
    const auto joined = [&](const Inputs& in) {
      return group_norm(in[0], in[1], in[2], 3, 1e-6, activation, in[3]);
    };
    check("group_norm of two inputs", joined, {{2, 3, 3, 2}, {9}, {9}, {2, 3, 3, 7}});
    // The gradient that comes through the sum is there first; where it is the only one, it is
    // shared with dy.
    const auto beside = [&](double factor) {
      return [&, factor](const Inputs& in) {
        const auto x = 1.0 * in[0];
        return factor * group_norm(x, in[1], in[2], 3, 1e-6, activation) + x;
      };
    };
    check("group_norm over its dy, beside its input", beside(3), {{2, 3, 3, 6}, {6}, {6}});
    const auto residual = [&](const Inputs& in) {
      const auto x = 1.0 * in[0];
      return group_norm(x, in[1], in[2], 3, 1e-6, activation) + x;
    };
    check("group_norm beside its input", residual, {{2, 3, 3, 6}, {6}, {6}});
    const auto twice = [&](const Inputs& in) {
      return group_norm(in[0], in[1], in[2], 3, 1e-6, activation, in[0]) + in[3] * in[3];
    };
    check("group_norm of one input twice", twice, {{2, 3, 3, 3}, {6}, {6}, {2, 3, 3, 6}});
  }
  check("silu", [](const Inputs& in) { return silu(in[0]); }, {{37}});
  check("gelu", [](const Inputs& in) { return gelu(in[0]); }, {{37}});
  check("softmax", [](const Inputs& in) { return softmax(in[0]); }, {{3, 13}});
}

TEST_CASE("gradcheck: attention") {
  for (const Index heads : {1, 2, 3}) {
    const auto op = [&](const Inputs& in) { return attention(in[0], heads); };
    check("attention", op, {{2, 3, 3, 18}});
  }
  check("attention of one token", [](const Inputs& in) { return attention(in[0], 1); },
        {{2, 1, 1, 9}});
}

TEST_CASE("gradcheck: resampling, concat, dropout, loss") {
  check("max_pool2d", [](const Inputs& in) { return max_pool2d(in[0]); }, {{2, 5, 4, 3}});
  check("avg_pool2d", [](const Inputs& in) { return avg_pool2d(in[0], 3); }, {{2, 7, 6, 3}});
  check("upsample", [](const Inputs& in) { return upsample_nearest(in[0], 7, 5); }, {{2, 3, 2, 3}});
  check("pointwise_conv2d",
        [](const Inputs& in) { return pointwise_conv2d(in[0], in[1], in[2], in[3]); },
        {{2, 3, 2, 2}, {2, 3, 2, 5}, {1, 1, 7, 3}, {3}});
  check("concat", [](const Inputs& in) { return concat(in[0], in[1]); },
        {{2, 3, 3, 2}, {2, 3, 3, 5}});
  check("dropout", [](const Inputs& in) { return dropout(in[0], 0.4, Rng(3)); }, {{101}});
  check("dropout over its dy", [](const Inputs& in) { return 2.0 * dropout(in[0], 0.4, Rng(3)); },
        {{101}});
  check("mse_loss", [](const Inputs& in) { return mse_loss(in[0], in[1]); }, {{3, 7}, {3, 7}});
  check("mse_loss of parts", [](const Inputs& in) { return mse_loss(in[0], in[1], 3); },
        {{3, 7}, {3, 7}});
  const std::vector<Index> classes{4, 0, 2};
  check("cross_entropy", [&](const Inputs& in) { return cross_entropy(in[0], classes); }, {{3, 5}});
  const Tensor<double> weights({3}, {0.5, 2, 0});
  check("weighted_mean", [&](const Inputs& in) { return weighted_mean(in[0], weights); }, {{3}});
  check("first_channels", [](const Inputs& in) { return first_channels(in[0], 2); },
        {{2, 3, 1, 5}});
  const std::vector<Index> rows{4, 0, 4, 1};
  check("embedding", [&](const Inputs& in) { return embedding(in[0], rows); }, {{5, 7}});
}

TEST_CASE("gradcheck: finds a wrong derivative") {
  const auto wrong = [](const Inputs& in) {
    const Tensor<double> y = in[0].value().clone();
    for (double& v : y) v *= v;
    const auto x = in[0];
    const auto backward = [=](const Tensor<double>& dy) -> Gradients<double, 1> {
      const Tensor<double> dx = x.new_grad();
      for (Index i = 0; i < dx.size(); ++i) dx[i] = dy[i] * x.value()[i];  // misses a factor 2
      return {dx};
    };
    return V::output(y, {x}, backward);
  };
  const auto result = gradcheck(wrong, {random_parameter({5}, 1)});
  CHECK(result.error == doctest::Approx(0.5).epsilon(1e-3));
}
