#include "ddpm/kernels/concat.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("concat: channels side by side, and back") {
  const auto a = random_tensor<float>({2, 3, 3, 5}, 1), b = random_tensor<float>({2, 3, 3, 17}, 2);
  const Tensor<float> y({2, 3, 3, 22}), da(a.shape()), db(b.shape());
  kernels::concat_forward<float>(a, b, y);
  CHECK(y[22 + 4] == a[5 + 4]);
  CHECK(y[22 + 5] == b[17]);
  kernels::concat_backward<float>(y, 5, da, db);
  CHECK(same_bits(a, da));
  CHECK(same_bits(b, db));
  const Tensor<float> wrong({2, 3, 2, 17}, 0.0F);
  CHECK_THROWS_AS(kernels::concat_forward<float>(a, wrong, y), PreconditionError);
}
