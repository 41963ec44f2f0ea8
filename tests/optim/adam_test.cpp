#include "ddpm/optim/adam.hpp"

#include "ddpm/optim/clip.hpp"
#include "ddpm/optim/ema.hpp"
#include "fixture.hpp"

using namespace test;

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
