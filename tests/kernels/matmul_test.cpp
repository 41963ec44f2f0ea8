#include "ddpm/kernels/matmul.hpp"

#include "../reference/reference.hpp"
#include "../support.hpp"

using namespace test;

namespace {

/// Forward and both gradients against the plain loops, at this thread's precision.
template <class T>
void check_matmul(Index M, Index K, Index N) {
  CAPTURE(M);
  CAPTURE(K);
  CAPTURE(N);
  const auto a = random_tensor<T>({M, K}, 1), b = random_tensor<T>({K, N}, 2);
  const auto dc = random_tensor<T>({M, N}, 3);
  Tensor<T> c({M, N}), da({M, K}), db({K, N});
  kernels::matmul_forward<T>(a, b, c);
  kernels::matmul_backward<T>(dc, a, b, da, db);
  const auto x = reference::operand(a), w = reference::operand(b), dy = reference::operand(dc);
  CHECK(relative_difference<T>(c, reference::matmul(x, w)) < tolerance<T>(K));
  CHECK(relative_difference<T>(da, reference::matmul(dy, reference::transpose(w))) <
        tolerance<T>(N));
  CHECK(relative_difference<T>(db, reference::matmul(reference::transpose(x), dy)) <
        tolerance<T>(M));
}

}  // namespace

TEST_CASE_TEMPLATE("matmul: forward and both gradients against the plain loops", T, float, double) {
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    const PrecisionScope scope(precision);
    for (const Index M : {1, 7, 8, 33, 97, 200})
      for (const Index K : {1, 2, 5, 32, 131, 160})
        for (const Index N : {1, 3, 16, 17, 33, 100}) check_matmul<T>(M, K, N);
  }
}

TEST_CASE("matmul: a row does not depend on the others") {
  const auto a = random_tensor<float>({50, 40}, 1), b = random_tensor<float>({40, 30}, 2);
  Tensor<float> all({50, 30}), one({1, 30});
  kernels::matmul_forward<float>(a, b, all);
  for (const Index row : {0, 13, 49}) {
    kernels::matmul_forward<float>(a.slice(row, 1), b, one);
    CHECK(std::memcmp(one.data(), all.slice(row, 1).data, 30 * sizeof(float)) == 0);
  }
}

TEST_CASE("matmul: shapes that do not fit") {
  const Tensor<float> a({2, 3}, 1.0F), b({4, 5}, 1.0F), c({2, 5});
  CHECK(contains(error_of<PreconditionError>([&] { kernels::matmul_forward<float>(a, b, c); }),
                 "a is (2, 3) and b is (4, 5)"));
  const Tensor<float> none({3, 0}), empty({2, 0});
  CHECK_THROWS_AS(kernels::matmul_forward<float>(a, none, empty), PreconditionError);
}

TEST_CASE("matmul: in bfloat16 too a row does not depend on the others, nor on the threads") {
  const PrecisionScope scope(Precision::bfloat16);
  for (const Index K : {40, 64}) {
    const auto a = random_tensor<float>({150, K}, 1), b = random_tensor<float>({K, 70}, 2);
    Tensor<float> all({150, 70}), one({1, 70}), again({150, 70});
    kernels::matmul_forward<float>(a, b, all);
    for (const Index row : {0, 13, 49, 149}) {
      kernels::matmul_forward<float>(a.slice(row, 1), b, one);
      CHECK(std::memcmp(one.data(), all.slice(row, 1).data, 70 * sizeof(float)) == 0);
    }
    const int threads = num_threads();
    set_num_threads(threads == 3 ? 2 : 3);
    kernels::matmul_forward<float>(a, b, again);
    set_num_threads(threads);
    CHECK(same_bits(all, again));
  }
}

TEST_CASE("matmul: the precision has no say in products of doubles") {
  const auto a = random_tensor<double>({9, 20}, 1), b = random_tensor<double>({20, 11}, 2);
  Tensor<double> c({9, 11}), rounded({9, 11});
  kernels::matmul_forward<double>(a, b, c);
  const PrecisionScope scope(Precision::bfloat16);
  kernels::matmul_forward<double>(a, b, rounded);
  CHECK(same_bits(c, rounded));
}
