#include "ddpm/core/random.hpp"

#include "../support.hpp"

using namespace test;

// Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10).
TEST_CASE("philox: published known answers") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) ==
        PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: many blocks at once are the blocks one by one") {
  const Rng rng(0x123456789abcdef, 0xfedcba987654321);
  const std::uint64_t position = 0xfffffffe;  // the low word overflows on the way
  const auto blocks = rng.blocks<5>(position);
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t w = 0; w < 4; ++w) CHECK(blocks.words[w][i] == rng.block(position + i)[w]);
}

TEST_CASE("rng: a copy replays, streams and seeds differ") {
  Rng a(1), b(1, 1), c(2);
  Rng copy = a;
  const std::uint32_t first = a.next();
  CHECK(first == copy.next());
  CHECK(first != b.next());
  CHECK(first != c.next());
  CHECK(Rng(1, Purpose::order, 3).stream() != Rng(1, Purpose::flip, 3).stream());
  Rng parent(1);
  Rng fork1 = parent.fork(), fork2 = parent.fork();
  CHECK(fork1.next() != fork2.next());
}

TEST_CASE("rng: uniform and normal numbers have the right moments") {
  Rng rng(3);
  const Index count = 200000;
  double sum = 0;
  for (Index i = 0; i < count; ++i) {
    const double u = rng.uniform();
    CHECK((u >= 0 && u < 1));
    sum += u;
  }
  // Five standard errors.
  CHECK(std::abs(sum / double(count) - 0.5) < 5 * std::sqrt(1.0 / 12 / double(count)));

  const Tensor<double> z = random_tensor<double>({count}, 4);
  double mean = 0, square = 0, fourth = 0;
  for (const double v : z) {
    mean += v / double(count);
    square += v * v / double(count);
    fourth += v * v * v * v / double(count);
  }
  CHECK(std::abs(mean) < 5 / std::sqrt(double(count)));
  CHECK(std::abs(square - 1) < 5 * std::sqrt(2.0 / double(count)));
  CHECK(std::abs(fourth - 3) < 5 * std::sqrt(96.0 / double(count)));
}

TEST_CASE("rng: below() reaches every value and no other") {
  Rng rng(5);
  std::array<int, 7> seen{};
  for (int i = 0; i < 7000; ++i) ++seen[static_cast<std::size_t>(rng.below(7))];
  for (const int times : seen) CHECK((times > 850 && times < 1150));
  CHECK_THROWS_AS(rng.below(0), PreconditionError);
}

TEST_CASE("fill_normal: float and double see the same noise") {
  const auto f = random_tensor<float>({31}, 6);
  const auto d = random_tensor<double>({31}, 6);
  for (Index i = 0; i < 31; ++i) CHECK(f[i] == static_cast<float>(d[i]));
}
