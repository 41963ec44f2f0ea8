#include "ddpm/optim/clip.hpp"

#include "fixture.hpp"

using namespace test;

TEST_CASE("clip_grad_norm: one norm over all gradients") {
  const auto a = random_parameter({2}, 1), b = random_parameter({1}, 2),
             c = random_parameter({4}, 3);
  set_grad(a, Tensor<double>({2}, {2, 3}));
  set_grad(b, Tensor<double>({1}, {6}));
  CHECK(optim::clip_grad_norm<double>({a, b, c}, 10) == 7);
  CHECK(b.grad()[0] == 6);
  CHECK(optim::clip_grad_norm<double>({a, b, c}, 3.5) == 7);
  CHECK(a.grad()[1] == 1.5);
  CHECK(b.grad()[0] == 3);
  set_grad(b, Tensor<double>({1}, {std::nan("")}));
  CHECK(std::isnan(optim::clip_grad_norm<double>({a, b, c}, 1)));
  CHECK(a.grad()[1] == 1.5);
  CHECK_THROWS_AS(optim::clip_grad_norm<double>({a}, 0), PreconditionError);
  CHECK_THROWS_AS(optim::clip_grad_norm<double>({a}, std::nan("")), PreconditionError);
}
