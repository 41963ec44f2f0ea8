#include "ddpm/kernels/embedding.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE_TEMPLATE("embedding: rows by number, gradients added to their rows", T, float, double) {
  const std::vector<Index> rows{2, 0, 2, 2, 1};
  for (const Index C : {1, 7, 16, 37}) {
    const auto table = random_tensor<T>({4, C}, 1), dy = random_tensor<T>({5, C}, 2);
    const Tensor<T> y({5, C}), dtable({4, C}, T(99));
    kernels::embedding_forward<T>(table, rows, y);
    kernels::embedding_backward<T>(dy, rows, dtable);
    for (Index c = 0; c < C; ++c) {
      for (Index n = 0; n < 5; ++n) CHECK(y[n * C + c] == table[rows[std::size_t(n)] * C + c]);
      CHECK(dtable[c] == dy[C + c]);
      CHECK(dtable[C + c] == dy[4 * C + c]);
      CHECK(dtable[2 * C + c] == dy[c] + dy[2 * C + c] + dy[3 * C + c]);
      CHECK(dtable[3 * C + c] == 0);
    }
  }
}

TEST_CASE("embedding: a row that is not there") {
  const Tensor<float> table({3, 2}, 0.0F), y({1, 2});
  const auto look_up = [&](Index row) {
    return error_of<PreconditionError>(
        [&] { kernels::embedding_forward<float>(table, std::vector<Index>{row}, y); });
  };
  CHECK(contains(look_up(3), "row 3, expected 0 to 2"));
  CHECK(contains(look_up(-1), "row -1"));
}
