#include "ddpm/core/bfloat16.hpp"

#include "../reference/reference.hpp"
#include "../support.hpp"
#include "ddpm/core/parallel.hpp"

using namespace test;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

float first_of(Bfloat16Pair pair) { return std::bit_cast<float>(pair.bits << 16); }
float second_of(Bfloat16Pair pair) { return std::bit_cast<float>(pair.bits & 0xFFFF0000); }

/// Values of every exponent and sign, ties among them.
Tensor<float> normal_values() {
  std::vector<float> values;
  for (std::uint32_t exponent = 1; exponent < 255; ++exponent)
    for (const std::uint32_t mantissa : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0x18000U, 0x7F7FFFU})
      for (const std::uint32_t sign : {0U, 1U})
        values.push_back(std::bit_cast<float>(sign << 31 | exponent << 23 | mantissa));
  Tensor<float> result({std::ssize(values)});
  std::copy(values.begin(), values.end(), result.begin());
  return result;
}

}  // namespace

TEST_CASE("bfloat16: rounded to nearest, ties to even") {
  const Tensor<float> values = normal_values(), expected = reference::bfloat16(values);
  for (Index i = 0; i < values.size(); ++i)
    CHECK(std::bit_cast<float>(bfloat16_bits(values[i])) == expected[i]);
}

TEST_CASE("bfloat16: what is not finite stays so, and what is too large becomes infinite") {
  CHECK(std::bit_cast<float>(bfloat16_bits(infinity)) == infinity);
  CHECK(std::bit_cast<float>(bfloat16_bits(-infinity)) == -infinity);
  CHECK(std::bit_cast<float>(bfloat16_bits(std::numeric_limits<float>::max())) == infinity);
  for (const std::uint32_t bits : {0x7F800001U, 0x7FFFFFFFU, 0xFF800001U, 0xFFFFFFFFU, 0x7FC00000U})
    CHECK(std::isnan(std::bit_cast<float>(bfloat16_bits(std::bit_cast<float>(bits)))));
}

TEST_CASE("bfloat16: packs of pairs are pairs of values") {
  constexpr Index width = simd::width<float>;
  const Tensor<float> values = normal_values();
  for (Index i = 0; i + 2 * width <= values.size(); i += width) {
    Bfloat16Pair pairs[static_cast<std::size_t>(width)];
    simd::store(pairs,
                simd::pair(simd::load(values.data() + i), simd::load(values.data() + i + width)));
    for (Index j = 0; j < width; ++j) {
      CHECK(first_of(pairs[j]) == std::bit_cast<float>(bfloat16_bits(values[i + j])));
      CHECK(second_of(pairs[j]) == std::bit_cast<float>(bfloat16_bits(values[i + j + width])));
    }
  }
}

TEST_CASE("bfloat16: rows of any length become pairs of neighbours") {
  const Tensor<float> values = normal_values();
  for (const Index count : {0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 65, 100}) {
    std::vector<Bfloat16Pair> pairs(static_cast<std::size_t>(units<Bfloat16Pair>(count)) + 1,
                                    Bfloat16Pair{7});
    simd::round_pairs(values.data(), count, pairs.data());
    for (Index i = 0; i < count; ++i) {
      const Bfloat16Pair pair = pairs[static_cast<std::size_t>(i / 2)];
      CHECK((i % 2 == 0 ? first_of(pair) : second_of(pair)) ==
            std::bit_cast<float>(bfloat16_bits(values[i])));
    }
    if (count % 2 == 1) CHECK(second_of(pairs[static_cast<std::size_t>(count / 2)]) == 0);
    CHECK(pairs.back().bits == 7);
  }
}

TEST_CASE("bfloat16: products of pairs are summed in float") {
  constexpr Index width = simd::width<float>;
  const auto a = random_tensor<float>({2 * width}, 1), b = random_tensor<float>({2 * width}, 2),
             c = random_tensor<float>({width}, 3);
  const auto pack = [](const Tensor<float>& v) {
    return simd::pair(simd::load(v.data()), simd::load(v.data() + width));
  };
  Tensor<float> sums({width}), expected({width});
  simd::store(sums.data(), simd::multiply_add(pack(a), pack(b), simd::load(c.data())));
  const auto ra = reference::bfloat16(a), rb = reference::bfloat16(b);
  for (Index i = 0; i < width; ++i)
    expected[i] = static_cast<float>(double(c[i]) + double(ra[i]) * double(rb[i]) +
                                     double(ra[i + width]) * double(rb[i + width]));
  CHECK(relative_difference<float>(sums, expected) < tolerance<float>(2));
}

#ifdef DDPM_AVX512_BF16
TEST_CASE("bfloat16: coarse exponentials are as near as they say") {
  constexpr Index width = simd::width<float>;
  for (int i = -160 * 8; i <= 160 * 8; ++i) {
    float x[width], power[width], sigmoid[width];
    for (Index k = 0; k < width; ++k)
      x[k] = static_cast<float>(i) / 8 + static_cast<float>(k) / (8 * width);
    simd::store(power, simd::coarse_exp2(simd::load(x)));
    simd::store(sigmoid, simd::coarse_sigmoid(simd::load(x)));
    for (Index k = 0; k < width; ++k) {
      CAPTURE(x[k]);
      const double v = double(x[k]), s = 1 / (1 + std::exp(-v));
      if (std::abs(v) < 126) CHECK(double(power[k]) == doctest::Approx(std::exp2(v)).epsilon(5e-6));
      if (v > -87) CHECK(double(sigmoid[k]) == doctest::Approx(s).epsilon(1e-4));
      CHECK(double(sigmoid[k]) <= 1.0001);
    }
  }
  const auto at = [](float value) {
    float result[width];
    simd::store(result, simd::coarse_sigmoid(simd::Pack<float>(value)));
    return result[0];
  };
  CHECK(at(-1000) == 0);
  CHECK(at(1000) == doctest::Approx(1).epsilon(1e-4));
  CHECK(std::isnan(at(std::numeric_limits<float>::quiet_NaN())));
}
#endif

TEST_CASE("precision: a scope's holds in the tasks of parallel_for, and ends with it") {
  CHECK(matmul_precision() == Precision::float32);
  {
    const PrecisionScope scope(Precision::bfloat16);
    std::array<Precision, 64> seen{};
    parallel_for(64, [&](Index i) { seen[static_cast<std::size_t>(i)] = matmul_precision(); });
    for (const Precision precision : seen) CHECK(precision == Precision::bfloat16);
    const PrecisionScope inner(Precision::float32);
    CHECK(matmul_precision() == Precision::float32);
  }
  CHECK(matmul_precision() == Precision::float32);
}
