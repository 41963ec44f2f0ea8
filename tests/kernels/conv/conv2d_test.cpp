#include "ddpm/kernels/conv/conv2d.hpp"

#include "../../reference/reference.hpp"
#include "../../support.hpp"

using namespace test;

namespace {

struct Case {
  Index N, H, W, in, out, kernel;
  ConvGeometry geometry;
};

const ConvGeometry same{1, Padding::same(1)}, down{2, Padding::right_and_bottom()};

// Maps of 1x1, 7x7, 28x28; channels 1, few on one side, primes, whole packs and one more.
const Case conv2d_cases[] = {
    {1, 1, 1, 1, 1, 3, same},
    {2, 1, 1, 5, 3, 3, same},
    {3, 7, 7, 13, 17, 3, same},
    {1, 28, 28, 1, 32, 3, same},
    {1, 28, 28, 33, 1, 3, same},
    {2, 9, 11, 3, 50, 3, same},
    {2, 9, 11, 50, 3, 3, same},
    {1, 9, 8, 20, 3, 3, {1, {0, 3, 2, 1}}},
    {1, 9, 8, 20, 3, 3, {2, Padding::same(1)}},
    {2, 8, 3, 32, 48, 3, same},
    {2, 32, 32, 32, 64, 3, same},
    {3, 9, 16, 64, 40, 3, same},
    {2, 7, 5, 40, 70, 1, {}},
    {2, 7, 7, 6, 10, 3, down},
    {1, 8, 8, 20, 33, 3, down},
    {2, 9, 8, 7, 19, 3, {2, Padding::same(1)}},
    {1, 7, 9, 3, 5, 4, {2, Padding::same(1)}},
    {1, 8, 8, 3, 5, 2, {3, {}}},
    {1, 5, 5, 2, 3, 1, {2, {}}},
    {1, 6, 7, 4, 6, 5, {1, {0, 2, 1, 3}}},
    {41, 2, 2, 40, 20, 3, same},
    {5, 4, 4, 96, 64, 3, same},
    {16, 1, 1, 32, 40, 3, same},
    {8, 2, 2, 64, 32, 3, same},
    {4, 4, 4, 33, 50, 3, same},
    {6, 5, 8, 40, 20, 3, same},
    {2, 3, 24, 20, 33, 3, same},
    {4, 6, 5, 20, 17, 2, {1, {0, 1, 0, 0}}},
    {1, 2, 2, 160, 140, 3, same},
    {1, 3, 130, 35, 20, 3, same},
    {2, 12, 12, 33, 34, 4, {1, {2, 1, 1, 3}}},
    {2, 6, 9, 3, 130, 3, {}},
    {2, 3, 0, 5, 4, 3, {1, Padding::same(2)}},
};

/// Forward and gradients against the plain loops, at this thread's precision.
template <class T>
void check_conv2d(const Case& c) {
  CAPTURE(c.N);
  CAPTURE(c.H);
  CAPTURE(c.W);
  CAPTURE(c.in);
  CAPTURE(c.out);
  CAPTURE(c.kernel);
  const auto x = random_tensor<T>({c.N, c.H, c.W, c.in}, 1);
  const auto w = random_tensor<T>({c.kernel, c.kernel, c.in, c.out}, 2);
  const auto bias = random_tensor<T>({c.out}, 3);
  const Tensor<T> y(kernels::conv2d_shape(x.shape(), w.shape(), c.geometry));
  kernels::conv2d_forward<T>(x, w, bias, {}, c.geometry, y);
  const auto rx = reference::operand(x), rw = reference::operand(w);
  const auto expected = reference::conv2d(rx, rw, bias, c.geometry, y.dim(1), y.dim(2));
  CHECK(relative_difference<T>(y, expected) < tolerance<T>(c.in * 9));

  const auto dy = random_tensor<T>(y.shape(), 4), rdy = reference::operand(dy);
  const Tensor<T> dx(x.shape()), dw(w.shape()), dbias({c.out});
  kernels::conv2d_backward<T>(dy, x, w, c.geometry, dx, dw, dbias);
  CHECK(relative_difference<T>(dx, reference::conv2d_dx(rdy, rw, x.shape(), c.geometry)) <
        tolerance<T>(c.out * 9));
  CHECK(relative_difference<T>(dw, reference::conv2d_dw(rdy, rx, w.shape(), c.geometry)) <
        tolerance<T>(y.size() / c.out));
  for (Index co = 0; co < c.out; ++co) {
    double sum = 0;
    for (Index i = co; i < dy.size(); i += c.out) sum += double(dy[i]);
    CHECK(std::abs(double(dbias[co]) - sum) <
          tolerance<T>(dy.size()) * std::sqrt(double(dy.size())));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("conv2d: forward and gradients against the plain loops", T, float, double) {
  for (const Case& c : conv2d_cases) check_conv2d<T>(c);
}

TEST_CASE("conv2d: in bfloat16 its operands are rounded, its sums are not") {
  const PrecisionScope scope(Precision::bfloat16);
  set_conv_algorithm(ConvAlgorithm::direct);  // Winograd rounds its planes
  for (const Case& c : conv2d_cases) check_conv2d<float>(c);
  set_conv_algorithm(ConvAlgorithm::automatic);
}

/// Calls f at each precision.
template <class F>
void at_each_precision(const F& f) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    const PrecisionScope scope(precision);
    CAPTURE(name_of(precision));
    f();
  }
}

void check_bias_and_residual() {
  struct Channels {
    Index in, out;
  };
  for (const Channels& C : {Channels{8, 20}, {20, 3}, {3, 20}, {12, 20}}) {
    CAPTURE(C.in);
    CAPTURE(C.out);
    const Shape shape{3, 5, 5, C.out};
    const auto x = random_tensor<float>({3, 5, 5, C.in}, 1);
    const auto w = random_tensor<float>({3, 3, C.in, C.out}, 2);
    const auto bias = random_tensor<float>({3, C.out}, 3),
               residual = random_tensor<float>(shape, 4);
    const Tensor<float> plain(shape), fused(shape), dbias({3, C.out});
    kernels::conv2d_forward<float>(x, w, {}, {}, same, plain);
    kernels::conv2d_forward<float>(x, w, bias, residual, same, fused);
    for (Index i = 0; i < plain.size(); ++i)
      plain[i] = plain[i] + bias[i / (25 * C.out) * C.out + i % C.out] + residual[i];
    CHECK(same_bits(plain, fused));

    kernels::conv2d_backward<float>(residual, x, w, same, {}, {}, dbias);
    for (Index n = 0; n < 3; ++n) {
      double sum = 0;
      for (Index p = 0; p < 25; ++p) sum += double(residual[(n * 25 + p) * C.out + C.out - 1]);
      CHECK(dbias[n * C.out + C.out - 1] == doctest::Approx(sum));
    }
  }
}

TEST_CASE("conv2d: a bias for each image and a residual enter as sums") {
  at_each_precision(check_bias_and_residual);
}

void check_enlarged() {
  struct Enlargement {
    Index H, W, height, width, in, out, stride;
  };
  // Direct and Winograd; twice as large, odd sizes, only one axis.
  const Enlargement all[] = {{3, 4, 6, 8, 5, 7, 1},    {3, 3, 7, 5, 9, 33, 2},
                             {4, 3, 8, 6, 20, 3, 1},   {4, 4, 8, 8, 32, 48, 1},
                             {5, 3, 11, 7, 40, 32, 1}, {7, 7, 7, 14, 33, 65, 1}};
  for (const Enlargement& e : all) {
    CAPTURE(e.height);
    CAPTURE(e.in);
    const ConvGeometry plain{e.stride, Padding::same(1)},
        fused{e.stride, Padding::same(1), e.height, e.width};
    const auto x = random_tensor<float>({2, e.H, e.W, e.in}, 1);
    const auto w = random_tensor<float>({3, 3, e.in, e.out}, 2);
    const Tensor<float> large({2, e.height, e.width, e.in}), dlarge(large.shape());
    kernels::upsample_nearest_forward<float>(x, large);
    const Tensor<float> y(kernels::conv2d_shape(large.shape(), w.shape(), plain));
    const Tensor<float> fused_y(kernels::conv2d_shape(x.shape(), w.shape(), fused));
    kernels::conv2d_forward<float>(large, w, {}, {}, plain, y);
    kernels::conv2d_forward<float>(x, w, {}, {}, fused, fused_y);
    CHECK(same_bits(y, fused_y));

    const auto dy = random_tensor<float>(y.shape(), 3);
    const Tensor<float> dx(x.shape()), dw(w.shape()), fused_dx(x.shape()), fused_dw(w.shape());
    kernels::conv2d_backward<float>(dy, large, w, plain, dlarge, dw, {});
    kernels::upsample_nearest_backward<float>(dlarge, dx);
    kernels::conv2d_backward<float>(dy, x, w, fused, fused_dx, fused_dw, {});
    CHECK(same_bits(dx, fused_dx));
    CHECK(same_bits(dw, fused_dw));
  }
}

TEST_CASE("conv2d: an enlarged input has the bits of upsampling first") {
  at_each_precision(check_enlarged);
}

void check_batches() {
  const auto x = random_tensor<float>({5, 7, 7, 12}, 1),
             w = random_tensor<float>({3, 3, 12, 40}, 2);
  const Tensor<float> all({5, 7, 7, 40}), one({1, 7, 7, 40});
  kernels::conv2d_forward<float>(x, w, {}, {}, same, all);
  kernels::conv2d_forward<float>(x.slice(3, 1), w, {}, {}, same, one);
  CHECK(std::memcmp(one.data(), all.slice(3, 1).data, std::size_t(one.size()) * 4) == 0);
}

TEST_CASE("conv2d: an image's bits do not depend on its batch") {
  at_each_precision(check_batches);
}

TEST_CASE("conv2d: bad shapes are named") {
  const auto shape = [](const Shape& x, const Shape& w, const ConvGeometry& g) {
    return error_of<PreconditionError>([&] { kernels::conv2d_shape(x, w, g); });
  };
  CHECK(
      contains(shape({1, 8, 8, 3}, {3, 3, 4, 8}, same), "w is (3, 3, 4, 8), expected (KH, KW, 3"));
  CHECK(contains(shape({8, 8, 3}, {3, 3, 3, 8}, same), "x is (8, 8, 3)"));
  CHECK(contains(shape({1, 1, 1, 3}, {3, 3, 3, 8}, {}), "smaller than the kernel"));
  CHECK(contains(shape({1, 8, 8, 3}, {3, 3, 3, 8}, {0, {}}), "stride is 0"));
  CHECK(contains(shape({1, 8, 8, 3}, {3, 3, 3, 0}, same), "at least one channel"));
  CHECK(contains(shape({1, 8, 8, 3}, {3, 3, 3, 8}, {1, {-1, 0, 0, 0}}), "padding"));
  CHECK(contains(shape({1, 8, 8, 3}, {9, 9, 3, 8}, same), "expected 1 to 64 taps"));
  CHECK(
      contains(shape({1, 8, 8, 3}, {3, 3, 3, 8}, {1, {}, 16, 7}), "cannot be enlarged to 16 x 7"));
  const auto x = random_tensor<float>({1, 4, 4, 2}, 1), w = random_tensor<float>({3, 3, 2, 3}, 2);
  const Tensor<float> y({1, 4, 4, 3}), wrong({4});
  CHECK(contains(error_of<PreconditionError>(
                     [&] { kernels::conv2d_forward<float>(x, w, wrong, {}, same, y); }),
                 "bias is (4), expected (3) or (1, 3)"));
}
