#include "ddpm/kernels/time_embedding.hpp"

#include "../support.hpp"

using namespace test;

TEST_CASE("time_embedding: sines, cosines, a zero for odd dimensions") {
  const std::array<double, 3> t{0, 1, 999};
  const Tensor<double> e({3, 9});
  kernels::time_embedding<double>(t, e);
  for (Index n = 0; n < 3; ++n)
    for (Index i = 0; i < 4; ++i) {
      const double angle = double(t[std::size_t(n)]) * std::pow(10000.0, -double(i) / 3);
      CHECK(e.view().row(n)[i] == doctest::Approx(std::sin(angle)));
      CHECK(e.view().row(n)[4 + i] == doctest::Approx(std::cos(angle)));
      CHECK(e.view().row(n)[8] == 0);
    }
  const Tensor<double> other({3, 8});
  kernels::time_embedding<double>(t, other, {.frequency_shift = 0, .cosine_first = true});
  for (Index i = 0; i < 4; ++i) {
    const double angle = 999 * std::pow(10000.0, -double(i) / 4);
    CHECK(other.view().row(2)[i] == doctest::Approx(std::cos(angle)));
    CHECK(other.view().row(2)[4 + i] == doctest::Approx(std::sin(angle)));
  }
  CHECK_THROWS_AS(kernels::time_embedding<double>(t, Tensor<double>({3, 3})), PreconditionError);
}
