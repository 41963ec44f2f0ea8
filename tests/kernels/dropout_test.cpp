#include "ddpm/kernels/dropout.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("dropout: keeps its share, scales it, and is a function of the generator") {
  const Tensor<float> x({100003}, 1.0F), y(x.shape()), again(x.shape()), other(x.shape());
  kernels::dropout<float>(x, 0.3, Rng(1), y);
  kernels::dropout<float>(x, 0.3, Rng(1), again);
  kernels::dropout<float>(x, 0.3, Rng(2), other);
  CHECK(same_bits(y, again));
  CHECK_FALSE(same_bits(y, other));
  Index kept = 0;
  for (const float v : y) {
    CHECK((v == 0.0F || v == doctest::Approx(1 / 0.7)));
    kept += v != 0.0F;
  }
  CHECK(std::abs(double(kept) / 100003 - 0.7) < 5 * std::sqrt(0.21 / 100003));
  CHECK_THROWS_AS(kernels::dropout<float>(x, 1.0, Rng(1), y), PreconditionError);
  CHECK_THROWS_AS(kernels::dropout<float>(x, -0.1, Rng(1), y), PreconditionError);
}
