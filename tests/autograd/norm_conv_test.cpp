// Group norm and convolution as one op, residual blocks without gradients, and parameters that do
// not change: each against the plain ops.
//
// SPDX-License-Identifier: MIT
#include "ddpm/autograd/ops/norm_conv.hpp"

#include "../support.hpp"
#include "ddpm/autograd/ops/activation.hpp"
#include "ddpm/nn/attention_block.hpp"
#include "ddpm/nn/residual_block.hpp"

using namespace test;

namespace {

constexpr Precision precisions[] = {Precision::float32, Precision::bfloat16};

/// Root mean square difference, over the root mean square of b.
double rms_difference(const Tensor<float>& a, const Tensor<float>& b) {
  REQUIRE(a.shape() == b.shape());
  double squares = 0, all = 0;
  for (Index i = 0; i < a.size(); ++i) {
    squares += std::pow(double(a[i]) - double(b[i]), 2);
    all += std::pow(double(b[i]), 2);
  }
  return std::sqrt(squares / std::max(all, 1e-30));
}

Variable<float> parameter(const Shape& shape, std::uint64_t seed) {
  return Variable<float>::parameter(random_tensor<float>(shape, seed));
}

struct NormConvCase {
  Index N, H, W, A, B, groups, out, kernel;
  Activation activation;
};

// Whole blocks of 32 channels, half ones, odd ones; bands of whole groups of any size.
const NormConvCase norm_conv_cases[] = {
    {2, 7, 5, 64, 0, 32, 32, 3, Activation::silu},   {1, 4, 4, 64, 32, 32, 64, 3, Activation::silu},
    {3, 2, 2, 48, 48, 32, 20, 1, Activation::none},  {2, 9, 3, 16, 16, 8, 96, 3, Activation::silu},
    {2, 5, 5, 20, 12, 4, 33, 3, Activation::silu},   {1, 1, 1, 7, 0, 7, 3, 3, Activation::none},
    {1, 6, 6, 320, 64, 32, 40, 1, Activation::silu}, {4, 4, 4, 64, 0, 8, 33, 3, Activation::silu},
    {6, 3, 8, 32, 32, 32, 64, 3, Activation::silu},  {8, 2, 2, 32, 0, 4, 32, 3, Activation::silu}};

/// y and the gradients of x, skip, gamma, beta, w, bias and the residual.
std::vector<Tensor<float>> norm_conv(const NormConvCase& c, bool as_one) {
  const Shape x_shape{c.N, c.H, c.W, c.A}, skip_shape{c.N, c.H, c.W, c.B};
  const auto x = parameter(x_shape, 1), skip = c.B ? parameter(skip_shape, 2) : Variable<float>();
  const auto gamma = parameter({c.A + c.B}, 3), beta = parameter({c.A + c.B}, 4);
  const auto w = parameter({c.kernel, c.kernel, c.A + c.B, c.out}, 5);
  const auto bias = parameter({c.N, c.out}, 6), residual = parameter({c.N, c.H, c.W, c.out}, 7);
  const ConvGeometry geometry{1, Padding::same(c.kernel / 2)};
  const auto y = as_one ? norm_conv2d<float>(x, skip, {gamma, beta, c.groups, 1e-6F, c.activation},
                                             w, bias, geometry, residual)
                        : conv2d(group_norm(x, gamma, beta, c.groups, 1e-6F, c.activation, skip), w,
                                 bias, geometry, residual);
  y.backward(random_tensor<float>(y.shape(), 8));
  std::vector<Tensor<float>> result{y.value()};
  for (const auto& v : {x, gamma, beta, w, bias, residual}) result.push_back(v.grad());
  if (skip.defined()) result.push_back(skip.grad());
  return result;
}

/// Images [first, first + count) through a block.
Tensor<float> residual_block(const nn::ResidualBlock<float>& block, const Tensor<float>& x,
                             const Tensor<float>& skip, Index first, Index count) {
  const auto part = [&](const Tensor<float>& all) {
    return Variable<float>(copy_of(all.slice(first, count)));
  };
  const Variable<float> e = part(random_tensor<float>({x.dim(0), 16}, 3));
  return block(part(x), e, nullptr, skip.empty() ? Variable<float>() : part(skip)).value();
}

template <class Module>
void stir(const Module& module) {
  Rng rng(3);
  for (auto& parameter : nn::parameters<float>(module))
    for (float& value : parameter.value()) value += 0.1F * static_cast<float>(rng.uniform() - 0.5);
}

constexpr Index image_count = 4;  // on AMX the pixels of four images alternate in maps of width 4

struct ResidualCase {
  Index H, W, in, skip, out, groups;

  nn::ResidualBlock<float> block() const {
    Rng rng(1);
    const nn::ResidualBlock<float> result(
        in + skip, out, {.time_channels = 16, .groups = groups, .dropout = 0.25}, rng);
    stir(result);
    return result;
  }

  /// y, and the gradients of x, skip and all parameters; of the block, or of its ops one by one.
  std::vector<Tensor<float>> run(Precision precision, bool drops, bool as_one) const {
    const PrecisionScope scope(precision);
    const auto b = block();
    const auto x = parameter({image_count, H, W, in}, 1);
    const auto there = skip ? parameter({image_count, H, W, skip}, 2) : Variable<float>();
    const Variable<float> e(random_tensor<float>({image_count, 16}, 3));
    Rng rng(7);
    Variable<float> y;
    if (as_one) {
      y = b(x, e, drops ? &rng : nullptr, there);
    } else {
      Variable<float> h = b.norm1(x, Activation::silu, there);
      h = conv2d(h, b.conv1.weight, add_row(b.time(e), b.conv1.bias), b.conv1.geometry);
      h = b.norm2(h, Activation::silu);
      if (drops) h = dropout(h, b.dropout_rate, rng.fork());
      y = b.conv2(h, b.residual(x, there));
    }
    // x has another reader, whose gradient comes first: the op must add to it.
    (y + silu(b.residual(x, there))).backward(random_tensor<float>(y.shape(), 8));
    std::vector<Tensor<float>> result{y.value(), x.grad()};
    if (there.defined()) result.push_back(there.grad());
    for (const auto& p : nn::parameters<float>(b)) result.push_back(p.grad());
    return result;
  }
};

const ResidualCase residual_cases[] = {
    {8, 8, 64, 0, 64, 32}, {7, 5, 32, 0, 64, 32}, {4, 4, 64, 32, 64, 32}, {1, 1, 32, 32, 32, 8},
    {6, 9, 48, 0, 96, 8},  {5, 5, 20, 12, 32, 4}, {3, 3, 96, 96, 96, 3},  {2, 2, 64, 64, 128, 32}};

}  // namespace

TEST_CASE("norm_conv2d: in float32 the bits of the two ops, in bfloat16 nearly so") {
  for (const Precision precision : precisions)
    for (const NormConvCase& c : norm_conv_cases) {
      const PrecisionScope scope(precision);
      CAPTURE(name_of(precision));
      CAPTURE(c.A);
      CAPTURE(c.B);
      const auto one = norm_conv(c, true), two = norm_conv(c, false);
      REQUIRE(one.size() == two.size());
      for (std::size_t i = 0; i < one.size(); ++i) {
        CAPTURE(i);
        CHECK(rms_difference(one[i], two[i]) <= (precision == Precision::float32 ? 0 : 2e-3));
      }
    }
}

TEST_CASE("norm_conv2d: with gradients and without, the same bits; so for any batch") {
  for (const NormConvCase& c : norm_conv_cases) {
    const PrecisionScope scope(Precision::bfloat16);
    CAPTURE(c.A);
    const auto x = random_tensor<float>({c.N + 2, c.H, c.W, c.A + c.B}, 1);
    const auto gamma = parameter({c.A + c.B}, 3), beta = parameter({c.A + c.B}, 4);
    const auto w = parameter({c.kernel, c.kernel, c.A + c.B, c.out}, 5);
    const auto run = [&](const Tensor<float>& images) {
      return norm_conv2d<float>(Variable<float>(images), {},
                                {gamma, beta, c.groups, 1e-6F, c.activation}, w, {},
                                {1, Padding::same(c.kernel / 2)})
          .value();
    };
    const Tensor<float> all = run(x), last = run(copy_of(x.slice(c.N + 1, 1)));
    const NoGrad no_grad;
    CHECK(same_bits(all, run(x)));
    CHECK(same_bits(copy_of(all.slice(c.N + 1, 1)), last));
  }
}

TEST_CASE("norm_conv2d: bad shapes and settings are named, at each precision") {
  const Variable<float> x(random_tensor<float>({1, 4, 4, 32}, 1)),
      w(random_tensor<float>({3, 3, 32, 32}, 2)), narrow(random_tensor<float>({3, 3, 16, 32}, 2)),
      ones(Tensor<float>({32}, 1.0F)), few(Tensor<float>({8}, 1.0F));
  const ConvGeometry same{1, Padding::same(1)};
  for (const Precision precision : precisions) {
    const PrecisionScope scope(precision);
    const auto error = [&](const Variable<float>& gamma, Index groups, float eps,
                           const Variable<float>& weights, const Variable<float>& bias) {
      return error_of<PreconditionError>([&] {
        norm_conv2d<float>(x, {}, {gamma, ones, groups, eps, Activation::silu}, weights, bias,
                           same);
      });
    };
    CHECK(contains(error(few, 8, 1e-6F, w, {}), "group_norm: gamma is (8), expected (32)"));
    CHECK(contains(error(ones, 5, 1e-6F, w, {}), "32 channels do not split into 5 groups"));
    CHECK(contains(error(ones, 0, 1e-6F, w, {}), "0 groups"));
    CHECK(contains(error(ones, 8, 0, w, {}), "eps is 0"));
    CHECK(contains(error(ones, 8, 1e-6F, narrow, {}), "w is (3, 3, 16, 32)"));
    CHECK(contains(error(ones, 8, 1e-6F, w, few), "bias is (8)"));
    const auto skip_error = [&](const Shape& skip) {
      return error_of<PreconditionError>([&] {
        norm_conv2d<float>(x, Variable<float>(Tensor<float>(skip, 0.0F)),
                           {ones, ones, 8, 1e-6F, Activation::silu}, w, {}, same);
      });
    };
    CHECK(contains(skip_error({4, 4}), "x is (1, 4, 4, 32) and (4, 4)"));
    CHECK(!skip_error({1, 4, 3, 32}).empty());
  }
}

TEST_CASE("residual block: without gradients the bits it has with them, in any batch") {
  for (const ResidualCase& c : residual_cases)
    for (const Precision precision : precisions) {
      const PrecisionScope scope(precision);
      CAPTURE(name_of(precision));
      CAPTURE(c.in);
      CAPTURE(c.out);
      const auto block = c.block();
      const auto x = random_tensor<float>({image_count, c.H, c.W, c.in}, 1);
      const auto skip =
          c.skip ? random_tensor<float>({image_count, c.H, c.W, c.skip}, 2) : Tensor<float>();
      const Tensor<float> with = residual_block(block, x, skip, 0, image_count);
      const NoGrad no_grad;
      const Tensor<float> without = residual_block(block, x, skip, 0, image_count);
      CHECK(same_bits(without, with));
      CHECK(same_bits(copy_of(without.slice(1, 1)), residual_block(block, x, skip, 1, 1)));
      const int threads = num_threads();
      set_num_threads(1);
      CHECK(same_bits(without, residual_block(block, x, skip, 0, image_count)));
      set_num_threads(threads);
    }
}

TEST_CASE("residual block: as one op as near to float32 as its ops one by one") {
  for (const ResidualCase& c : residual_cases)
    for (const bool drops : {false, true}) {
      CAPTURE(c.in);
      CAPTURE(c.out);
      CAPTURE(drops);
      const auto exact = c.run(Precision::float32, drops, false);
      const auto one = c.run(Precision::bfloat16, drops, true),
                 plain = c.run(Precision::bfloat16, drops, false);
      REQUIRE(one.size() == exact.size());
      for (std::size_t i = 0; i < one.size(); ++i) {
        CAPTURE(i);
        CHECK(rms_difference(one[i], exact[i]) < 2e-3 + 2 * rms_difference(plain[i], exact[i]));
      }
      const auto again = c.run(Precision::float32, drops, true);
      for (std::size_t i = 0; i < again.size(); ++i) CHECK(same_bits(again[i], exact[i]));
    }
}

TEST_CASE("attention block: without gradients the bits it has with them, in any batch") {
  struct Case {
    Index H, W, channels, heads, groups;
  };
  for (const Case& c : {Case{4, 4, 32, 1, 8},
                        {7, 5, 64, 4, 32},
                        {3, 11, 128, 2, 32},
                        {1, 1, 64, 1, 4},
                        {16, 16, 32, 2, 32},
                        {5, 5, 96, 3, 4},
                        {4, 3, 40, 5, 8}})
    for (const Precision precision : precisions) {
      const PrecisionScope scope(precision);
      CAPTURE(name_of(precision));
      CAPTURE(c.channels);
      CAPTURE(c.heads);
      Rng rng(1);
      const nn::AttentionBlock<float> block(
          c.channels, {.time_channels = 0, .groups = c.groups, .heads = c.heads}, rng);
      stir(block);
      const auto x = random_tensor<float>({3, c.H, c.W, c.channels}, 1);
      const auto run = [&](const Tensor<float>& images) {
        return block(Variable<float>(images)).value();
      };
      const Tensor<float> with = run(x);
      const NoGrad no_grad;
      const Tensor<float> without = run(x);
      CHECK(same_bits(without, with));
      CHECK(same_bits(copy_of(without.slice(1, 1)), run(copy_of(x.slice(1, 1)))));
    }
}

TEST_CASE("FixedParameters: the same bits, once for each value") {
  const PrecisionScope scope(Precision::bfloat16);
  Rng rng(1);
  const nn::ResidualBlock<float> block(64, 32, {.time_channels = 16, .groups = 8}, rng);
  const nn::AttentionBlock<float> attention(32, {.time_channels = 0, .groups = 8, .heads = 4}, rng);
  stir(block);
  stir(attention);
  const auto x = random_tensor<float>({2, 6, 6, 32}, 1), skip = random_tensor<float>(x.shape(), 2);
  const NoGrad no_grad;
  const auto run = [&] {
    return attention(Variable<float>(residual_block(block, x, skip, 0, 2))).value();
  };
  const Tensor<float> before = run();
  {
    const FixedParameters fixed;
    CHECK(same_bits(before, run()));
    {
      const FixedParameters inner;
      CHECK(same_bits(before, run()));
    }
    CHECK(same_bits(before, run()));  // the outer scope's are still there
  }
  for (const auto& parameter : nn::parameters<float>(block))
    for (float& value : parameter.value()) value *= 1.5F;
  const Tensor<float> after = run();
  CHECK(!same_bits(before, after));
  const FixedParameters fixed;
  CHECK(same_bits(after, run()));
  CHECK(same_bits(after, run()));
}
