#include "../support.hpp"
#include "ddpm/optim/adam.hpp"
#include "ddpm/optim/clip.hpp"
#include "ddpm/optim/ema.hpp"
#include "ddpm/optim/learning_rate.hpp"

using namespace test;

namespace {

void set_grad(const Variable<double>& x, const Tensor<double>& grad) {
  x.zero_grad();
  x.backward(grad);  // of a leaf: takes the seed as its gradient
}

}  // namespace

TEST_CASE("adam: follows algorithm 1 step by step, and AdamW decays") {
  for (const double decay : {0.0, 0.1}) {
    const auto x = random_parameter({20000}, 1);  // more than one block
    const auto w = x.value().clone();
    optim::Adam<double> adam({x}, {.weight_decay = decay});
    Tensor<double> m(w.shape(), 0.0), v(w.shape(), 0.0);
    for (int k = 1; k <= 5; ++k) {
      const auto g = random_tensor<double>(w.shape(), 10 + std::uint64_t(k));
      set_grad(x, g.clone());
      adam.step(0.01);
      for (Index i = 0; i < w.size(); ++i) {
        m[i] = 0.9 * m[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
        const double mhat = m[i] / (1 - std::pow(0.9, k)), vhat = v[i] / (1 - std::pow(0.999, k));
        w[i] -= 0.01 * (mhat / (std::sqrt(vhat) + 1e-8) + decay * w[i]);
      }
      CHECK(relative_difference<double>(x.value(), w) < 1e-12);
    }
    CHECK(adam.steps() == 5);
  }
}

TEST_CASE("adam: parameters without a gradient stay; bad options are named") {
  const auto x = random_parameter({3}, 1);
  const auto before = x.value().clone();
  optim::Adam<double> adam({x});
  adam.step(0.1);
  CHECK(same_bits(before, x.value()));
  CHECK_THROWS_AS(adam.step(std::nan("")), PreconditionError);
  CHECK_THROWS_AS(adam.step(-1), PreconditionError);
  CHECK_THROWS_AS((optim::Adam<double>({x}, {.beta1 = 1})), PreconditionError);
  CHECK_THROWS_AS((optim::Adam<double>({x}, {.beta2 = -0.1})), PreconditionError);
  CHECK_THROWS_AS((optim::Adam<double>({x}, {.eps = 0})), PreconditionError);
  CHECK_THROWS_AS((optim::Adam<double>({x}, {.weight_decay = -1})), PreconditionError);
}

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

TEST_CASE("ema: the recursion, with and without warm-up") {
  const auto w = random_parameter({5}, 1), e = random_parameter({5}, 2);
  double expected = e.value()[0];
  optim::Ema<double> plain({w}, {e}, {.decay = 0.9, .warmup = false});
  for (int i = 0; i < 3; ++i) {
    plain.update();
    expected = 0.9 * expected + 0.1 * w.value()[0];
    CHECK(e.value()[0] == doctest::Approx(expected));
  }
  optim::Ema<double> warm({w}, {e}, {.decay = 0.9999});
  for (int n = 0; n < 3; ++n) {
    warm.update();
    const double d = (1.0 + n) / (10 + n);
    expected = d * expected + (1 - d) * w.value()[0];
    CHECK(e.value()[0] == doctest::Approx(expected));
  }
  CHECK_THROWS_AS((optim::Ema<double>({w}, {e}, {.decay = 1})), PreconditionError);
  CHECK_THROWS_AS((optim::Ema<double>({w}, {})), PreconditionError);
}

TEST_CASE("learning rate: warm-up from 0, then constant or half a cosine") {
  optim::LearningRate rate{.base = 2e-4, .warmup_steps = 5000};
  CHECK(rate.at(0) == 0);
  CHECK(rate.at(2500) == doctest::Approx(1e-4));
  CHECK(rate.at(5000) == 2e-4);
  CHECK(rate.at(1'000'000) == 2e-4);
  rate = {.base = 1, .warmup_steps = 10, .decay = optim::Decay::cosine, .total_steps = 110};
  CHECK(rate.at(10) == 1);
  CHECK(rate.at(60) == doctest::Approx(0.5));
  CHECK(rate.at(110) == doctest::Approx(0));
  CHECK(rate.at(500) == doctest::Approx(0));
  for (const double base : {0.0, -1.0, std::nan(""), double(INFINITY)}) {
    rate.base = base;
    CHECK_THROWS_AS(rate.validate(), PreconditionError);
  }
}

TEST_CASE("adam: clipping and averaging in its own pass are those made one after the other") {
  const auto make = [] { return Variable<double>::parameter(Tensor<double>({3}, {1, -2, 3})); };
  const Variable<double> a = make(), b = make(), mean_a = make(), mean_b = make();
  optim::Adam<double> fused({a}), apart({b});
  optim::Ema<double> average_a({a}, {mean_a}), average_b({b}, {mean_b});
  for (int step = 0; step < 3; ++step) {
    for (const auto& w : {a, b}) {
      set_grad(w, Tensor<double>({3}, {1.0 + step, 2, -3}));
    }
    const double norm = optim::grad_norm<double>({a});
    REQUIRE(optim::clip_factor(norm, 0.5) < 1);
    fused.step(0.1, optim::clip_factor(norm, 0.5), average_a.next_update());
    CHECK(optim::clip_grad_norm<double>({b}, 0.5) == norm);
    apart.step(0.1);
    average_b.update();
  }
  for (Index i = 0; i < 3; ++i) {
    CHECK(a.value()[i] == doctest::Approx(b.value()[i]).epsilon(1e-12));
    CHECK(mean_a.value()[i] == doctest::Approx(mean_b.value()[i]).epsilon(1e-12));
  }
  CHECK(mean_a.value()[0] != 1);
}
