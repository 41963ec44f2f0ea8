#include "ddpm/kernels/conv/conv_transpose2d.hpp"

#include "../../reference/reference.hpp"
#include "../../support.hpp"

using namespace test;

namespace {

struct TransposeCase {
  Index N, H, W, in, out, kernel, height, width;
  ConvGeometry geometry;
};

const ConvGeometry twice{2, Padding::same(1)};

const TransposeCase transpose_cases[] = {
    {1, 1, 1, 1, 1, 4, 2, 2, twice},     {2, 3, 3, 5, 17, 4, 7, 7, twice},
    {1, 7, 7, 33, 16, 4, 14, 14, twice}, {2, 4, 5, 8, 40, 4, 8, 11, twice},
    {1, 1, 1, 3, 2, 4, 3, 3, twice},     {1, 4, 4, 3, 5, 3, 4, 4, {1, Padding::same(1)}},
    {1, 3, 2, 3, 5, 2, 9, 6, {3, {}}},   {2, 8, 8, 64, 32, 4, 16, 16, twice},
};

}  // namespace

TEST_CASE_TEMPLATE("conv_transpose2d: forward and gradients against the plain loops", T, float,
                   double) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16})
    for (const TransposeCase& c : transpose_cases) {
      const PrecisionScope scope(precision);
      CAPTURE(name_of(precision));
      CAPTURE(c.H);
      CAPTURE(c.in);
      CAPTURE(c.out);
      CAPTURE(c.height);
      const auto x = random_tensor<T>({c.N, c.H, c.W, c.in}, 1);
      const auto w = random_tensor<T>({c.kernel, c.kernel, c.in, c.out}, 2);
      const auto bias = random_tensor<T>({c.out}, 3);
      const Tensor<T> y({c.N, c.height, c.width, c.out});
      kernels::conv_transpose2d_forward<T>(x, w, bias, c.geometry, y);
      const auto rx = reference::operand(x), rw = reference::operand(w);
      CHECK(relative_difference<T>(
                y, reference::conv_transpose2d(rx, rw, bias, c.geometry, c.height, c.width)) <
            tolerance<T>(c.in * 4));

      // The adjoint of the adjoint: dx is a plain convolution of dy with in and out exchanged.
      const auto dy = random_tensor<T>(y.shape(), 4), rdy = reference::operand(dy);
      const Tensor<T> dx(x.shape()), dw(w.shape()), dbias({c.out});
      kernels::conv_transpose2d_backward<T>(dy, x, w, c.geometry, dx, dw, dbias);
      Tensor<T> swapped({c.kernel, c.kernel, c.out, c.in}), zero({c.in}, T(0));
      for (Index i = 0; i < w.size(); ++i) {
        const Index tap = i / (c.in * c.out), ci = i / c.out % c.in, co = i % c.out;
        swapped[(tap * c.out + co) * c.in + ci] = rw[i];
      }
      CHECK(relative_difference<T>(dx, reference::conv2d(rdy, swapped, zero, c.geometry, c.H,
                                                         c.W)) < tolerance<T>(c.out * 16));
      const auto dswapped = reference::conv2d_dw(rx, rdy, swapped.shape(), c.geometry);
      Tensor<T> expected(w.shape());
      for (Index i = 0; i < w.size(); ++i) {
        const Index tap = i / (c.in * c.out), ci = i / c.out % c.in, co = i % c.out;
        expected[i] = dswapped[(tap * c.out + co) * c.in + ci];
      }
      CHECK(relative_difference<T>(dw, expected) < tolerance<T>(c.N * c.H * c.W));
    }
}

TEST_CASE("conv_transpose2d: bad shapes are named") {
  const Tensor<float> x({1, 3, 3, 4}, 0.0F), w({4, 4, 5, 6}, 0.0F), y({1, 6, 6, 6});
  CHECK(contains(error_of<PreconditionError>(
                     [&] { kernels::conv_transpose2d_forward<float>(x, w, {}, twice, y); }),
                 "w is (4, 4, 5, 6)"));
}
