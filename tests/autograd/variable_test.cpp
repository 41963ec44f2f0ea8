#include "ddpm/autograd/variable.hpp"

#include "../support.hpp"
#include "ddpm/autograd/ops/activation.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/autograd/ops/loss.hpp"

using namespace test;

namespace {

Variable<double> scalar(double value) {
  return Variable<double>::parameter(Tensor<double>({1}, value));
}

}  // namespace

TEST_CASE("variable: gradients of all uses add up") {
  const auto x = scalar(3);
  const auto y = x * x + 2.0 * x;  // dy/dx = 2x + 2
  y.backward();
  CHECK(x.grad()[0] == 8);
  (x * x).backward();  // a second graph adds to the same leaf
  CHECK(x.grad()[0] == 14);
  x.zero_grad();
  CHECK(x.grad().empty());
}

TEST_CASE("variable: a diamond is walked from the newest to the oldest") {
  const auto x = scalar(2);
  const auto a = x * x;
  const auto b = 3.0 * a;
  const auto c = a * b;  // 3 x^4
  const auto d = c + a;  // + x^2
  d.backward();
  CHECK(x.grad()[0] == 12 * 8 + 4);
}

TEST_CASE("variable: leaves that share a gradient do not share its memory") {
  const auto x = scalar(1), y = scalar(2);
  (x + y).backward();
  x.grad()[0] = 100;
  CHECK(y.grad()[0] == 1);
}

TEST_CASE("variable: a residual's shared gradient is never written to") {
  const auto x = random_parameter({4}, 1);
  const auto h = 2.0 * x;
  const auto y = h + h * h;  // both inputs of + get the same dy
  const Tensor<double> seed({4}, 1.0);
  y.backward(seed);
  for (Index i = 0; i < 4; ++i) {
    CHECK(seed[i] == 1);
    CHECK(x.grad()[i] == doctest::Approx(2 * (1 + 4 * x.value()[i])));
  }
}

TEST_CASE("variable: constants and NoGrad record nothing") {
  const auto x = scalar(3);
  const Variable<double> constant(Tensor<double>({1}, 2.0));
  CHECK_FALSE((constant * constant).requires_grad());
  {
    const NoGrad no_grad;
    CHECK_FALSE((x * x).requires_grad());
    { const NoGrad nested; }
    CHECK_FALSE(grad_enabled());
  }
  CHECK((x * constant).requires_grad());
  CHECK_FALSE(x.detach().requires_grad());
  (x * constant).backward();
  CHECK(constant.grad().empty());
}

TEST_CASE("variable: misuse is named") {
  const auto x = scalar(3);
  const auto y = x * x;
  y.backward();
  CHECK(contains(error_of<PreconditionError>([&] { y.backward(); }), "freed"));
  CHECK(contains(error_of<PreconditionError>([&] { (2.0 * y).backward(); }), "freed"));
  CHECK_THROWS_AS(x.detach().backward(), PreconditionError);
  CHECK_THROWS_AS(random_parameter({2}, 1).backward(), PreconditionError);
  CHECK_THROWS_AS(Variable<double>().backward(), PreconditionError);
  const auto v = random_parameter({2}, 1);
  CHECK_THROWS_AS(v.backward(Tensor<double>({3}, 1.0)), PreconditionError);
  CHECK_THROWS_AS(v + scalar(1), PreconditionError);
}

TEST_CASE("variable: a chain of 200000 ops is built, walked and destroyed without recursion") {
  const auto x = scalar(1);
  const auto build = [&] {
    auto y = x;
    for (int i = 0; i < 200000; ++i) y = 1.0 * y;
    return y;
  };
  { const auto unused = build(); }
  build().backward();
  CHECK(x.grad()[0] == 1);
}

TEST_CASE("variable: the memory of a graph comes back") {
  const auto x = random_parameter({100}, 1);
  const auto before = memory::statistics().bytes_in_use;
  { const auto y = silu(x * x) + x; }
  CHECK(memory::statistics().bytes_in_use == before);
  {
    const auto loss = mse_loss(silu(x * x) + x, Variable<double>(Tensor<double>({100}, 0.0)));
    loss.backward();
    x.zero_grad();
  }
  CHECK(memory::statistics().bytes_in_use == before);
}
