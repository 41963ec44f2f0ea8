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

namespace {

/// y = the sum of the inputs, whose closure returns what `gradients` gives.
template <std::size_t N, class F>
Variable<double> sum_of(const Variable<double> (&inputs)[N], const F& gradients) {
  Tensor<double> y({2}, 0.0);
  for (const auto& input : inputs)
    if (input.defined())
      for (Index i = 0; i < 2; ++i) y[i] += input.value()[i];
  return Variable<double>::output(y, inputs, gradients);
}

}  // namespace

TEST_CASE("variable: an op has as many inputs as it likes") {
  const auto a = random_parameter({2}, 1), b = random_parameter({2}, 2);
  const auto y =
      sum_of({a, b, a, a, b, a, a}, [](const Tensor<double>& dy) -> Gradients<double, 7> {
        return {dy, dy, dy, dy, dy, dy, dy};
      });
  y.backward(Tensor<double>({2}, 1.0));
  CHECK(a.grad()[0] == 5);
  CHECK(b.grad()[1] == 2);
}

TEST_CASE("variable: a gradient that breaks the contract is caught where it is handed over") {
  const auto a = random_parameter({2}, 1), b = random_parameter({2}, 2);
  const Tensor<double> seed({2}, 1.0);
  using G = Gradients<double, 2>;
  const auto error = [&](const Variable<double>& y) {
    return error_of<PreconditionError>([&] { y.backward(seed); });
  };
  const auto wrong = [](const Tensor<double>& dy) -> G { return {dy, Tensor<double>({3}, 0.0)}; };
  CHECK(contains(error(sum_of({a, b}, wrong)), "gradient of its input 1 is (3), expected (2)"));
  const auto both = [](const Tensor<double>& dy) -> G { return {dy, dy}; };
  CHECK(contains(error(sum_of({a, Variable<double>()}, both)), "input 1, which is undefined"));
  const auto drops = [](const Tensor<double>& dy, GradientsSoFar<double>& so_far) -> G {
    const Tensor<double> taken = so_far.take(0);
    return {Tensor<double>(), dy};
  };
  CHECK(contains(error(sum_of({a, b}, drops)), "took the gradient of its input 0"));
  const auto beyond = [](const Tensor<double>& dy, GradientsSoFar<double>& so_far) -> G {
    return {so_far.take(2), dy};
  };
  CHECK(contains(error(sum_of({a, b}, beyond)), "input 2 of 2"));
}

TEST_CASE("variable: no gradient flows into a constant, whatever the closure returns") {
  const auto a = random_parameter({2}, 1);
  const Variable<double> constant(Tensor<double>({2}, 2.0));
  const auto both = [](const Tensor<double>& dy) -> Gradients<double, 2> { return {dy, dy}; };
  sum_of({a, constant}, both).backward(Tensor<double>({2}, 1.0));
  CHECK(a.grad()[0] == 1);
  CHECK(constant.grad().empty());
}

TEST_CASE("variable: an undefined one says so") {
  const Variable<double> none;
  CHECK(contains(error_of<PreconditionError>([&] { none.shape(); }), "shape of an undefined"));
  CHECK_THROWS_AS(none.dim(0), PreconditionError);
  CHECK_THROWS_AS(none.grad(), PreconditionError);
  CHECK_THROWS_AS(none.zero_grad(), PreconditionError);
  CHECK_FALSE(none.requires_grad());
  CHECK(none.value().empty());
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

TEST_CASE("backward: tells each gradient as soon as it is complete, and once") {
  const auto a = Variable<float>::parameter(random_tensor<float>({3}, 1));
  const auto b = Variable<float>::parameter(random_tensor<float>({3}, 2));
  const auto unused = Variable<float>::parameter(random_tensor<float>({3}, 3));
  const auto graph = [&] { return a * b + a * a + silu(b); };
  const Tensor<float> ones({3}, 1.0F);
  graph().backward(ones);
  const auto da = a.grad().clone(), db = b.grad().clone();
  a.zero_grad();
  b.zero_grad();
  for (int repeated = 0; repeated < 2; ++repeated) {  // its gradients are taken away
    std::vector<const void*> told;
    graph().backward(ones, [&](const Variable<float>& leaf) {
      told.push_back(leaf.identity());
      CHECK(same_bits(leaf.grad(), leaf.identity() == a.identity() ? da : db));
      leaf.set_grad({});
    });
    CHECK(told.size() == 2);
    CHECK(std::count(told.begin(), told.end(), a.identity()) == 1);
    CHECK(std::count(told.begin(), told.end(), b.identity()) == 1);
  }
  CHECK(unused.grad().empty());
}

TEST_CASE("backward: the parameters of the last layers are told first") {
  std::vector<Variable<float>> layers;
  for (std::uint64_t i = 0; i < 5; ++i)
    layers.push_back(Variable<float>::parameter(random_tensor<float>({3}, i)));
  Variable<float> x = layers[0];
  for (const auto& layer : layers) x = silu(x * layer);
  std::vector<const void*> told;
  x.backward(Tensor<float>({3}, 1.0F),
             [&](const Variable<float>& leaf) { told.push_back(leaf.identity()); });
  REQUIRE(told.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(told[i] == layers[4 - i].identity());
}

TEST_CASE("set_grad: only of a parameter, and of its shape") {
  const auto parameter = Variable<float>::parameter(random_tensor<float>({3}, 1));
  parameter.set_grad(Tensor<float>({3}, 2.0F));
  CHECK(parameter.grad()[2] == 2);
  CHECK_THROWS_AS(parameter.set_grad(Tensor<float>({4})), PreconditionError);
  CHECK_THROWS_AS(Variable<float>(Tensor<float>({3})).set_grad(Tensor<float>({3})),
                  PreconditionError);
}
