#include "ddpm/core/torch_random.hpp"

#include "../support.hpp"

using namespace test;

namespace {

/// torch.randn(n), torch.randn(2), torch.rand(1) and torch.randint(0, 1000, (1,)) of one seed, one
/// after the other, as PyTorch 2.13 gives them: the first, the middle and the last of the n, then
/// all that follow.
struct Recorded {
  std::size_t n;
  std::uint64_t seed;
  std::array<double, 6> values;
  Index whole;
};

}  // namespace

TEST_CASE("torch random: PyTorch's numbers, for few values and many, whole blocks and parts") {
  for (const Recorded& r :
       {Recorded{5, 0, {1.5409961, -2.1787894, -1.0845224, -1.3985955, 0.4033468, 0.6976676}, 868},
        Recorded{3, 7, {-0.1467951, 0.7861413, 0.9468216, -1.114344, 1.6907902, 0.286839}, 217},
        Recorded{
            16, 0, {-1.1258398, 0.3222749, -0.2472782, -0.7192576, -0.4033435, 0.6816086}, 119},
        Recorded{
            17, 42, {1.9269153, 0.3558599, -0.3097268, -0.5709994, -0.9749464, 0.9039817}, 632},
        Recorded{40,
                 ~std::uint64_t{0},
                 {-2.6642976, 0.3062192, 0.1821114, -0.2933584, 1.142943, 0.4892985},
                 64}}) {
    CAPTURE(r.n);
    TorchGenerator generator(r.seed);
    std::vector<float> values(r.n), two(2);
    generator.fill_normal<float>(values);
    generator.fill_normal<float>(two);
    const std::array<double, 6> mine{values.front(), values[r.n / 2], values.back(),
                                     two[0],         two[1],          generator.uniform()};
    for (std::size_t i = 0; i < 6; ++i)
      CHECK(mine[i] == doctest::Approx(r.values[i]).epsilon(1e-6));
    CHECK(generator.below(1000) == r.whole);
  }
}

TEST_CASE("torch random: torch.randn(2, 2, 2, 3) lies there as (2, 2, 3, 2)") {
  const auto noise = TorchGenerator(3).normal<double>({2, 2, 3, 2});
  std::vector<double> in_order(24);
  TorchGenerator(3).fill_normal<double>(in_order);
  for (Index n = 0; n < 2; ++n)
    for (Index c = 0; c < 2; ++c)
      for (Index p = 0; p < 6; ++p)
        CHECK(noise[(n * 6 + p) * 2 + c] == in_order[std::size_t((n * 2 + c) * 6 + p)]);
  CHECK_THROWS_AS(TorchGenerator(3).normal<float>({3, 4}), PreconditionError);
  CHECK_THROWS_AS(TorchGenerator(3).below(0), PreconditionError);
}
