#include "ddpm/optim/learning_rate.hpp"

#include "fixture.hpp"

using namespace test;

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
