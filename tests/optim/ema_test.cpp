#include "ddpm/optim/ema.hpp"

#include "fixture.hpp"

using namespace test;

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
