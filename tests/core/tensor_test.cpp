#include "ddpm/core/tensor.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("tensor: copies alias, clones do not") {
  const Tensor<float> a({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor<float> alias = a, copy = a.clone();
  a[0] = 9;
  CHECK(alias[0] == 9);
  CHECK(copy[0] == 1);
  CHECK_FALSE(a.unique());
  CHECK(copy.unique());
}

TEST_CASE("tensor: storage is aligned") {
  for (const Index size : {1, 3, 17, 1000}) {
    const Tensor<double> x({size});
    CHECK(reinterpret_cast<std::uintptr_t>(x.data()) % 64 == 0);
  }
}

TEST_CASE("tensor: slices and shapes") {
  const Tensor<float> x({3, 2}, {0, 1, 2, 3, 4, 5});
  const View<float> rows = x.slice(1, 2);
  CHECK(rows.shape == Shape{2, 2});
  CHECK(rows[0] == 2);
  CHECK(x.reshape({6}).data() == x.data());
  CHECK_THROWS_AS(x.slice(2, 2), PreconditionError);
  CHECK_THROWS_AS(x.slice(-1, 1), PreconditionError);
  CHECK_THROWS_AS(x.reshape({5}), PreconditionError);
  CHECK_THROWS_AS((Tensor<float>({2}, {1.0F, 2.0F, 3.0F})), PreconditionError);
}

TEST_CASE("tensor: empty arrays") {
  CHECK(Tensor<float>().empty());
  CHECK(Tensor<float>().clone().empty());
  CHECK(Tensor<float>({0, 3}).size() == 0);
}
