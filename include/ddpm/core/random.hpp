// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
// numbers: as easy as 1, 2, 3").
//
// A generator is three integers: seed (the key), stream and position (together the counter). Any
// stream is reached at once, so results depend on no order of work. Normal numbers by Box-Muller,
// in double whatever T is.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI {

using PhiloxBlock = std::array<std::uint32_t, 4>;

/// Ten rounds of Philox4x32 on `counter` with `key`.
inline PhiloxBlock philox4x32(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    const auto high = [](std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); };
    const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// `Lanes` blocks at once, of which word w of block i is words[w][i]. In 64-bit lanes, which
/// compilers turn into SIMD.
template <std::size_t Lanes>
struct PhiloxBlocks {
  std::array<std::array<std::uint64_t, Lanes>, 4> words;

  /// Ten rounds on the counters in `words`.
  void run(std::array<std::uint32_t, 2> key) {
    constexpr std::uint64_t low = 0xFFFFFFFF;
    auto& [c0, c1, c2, c3] = words;
    for (int round = 0; round < 10; ++round) {
      for (std::size_t i = 0; i < Lanes; ++i) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c0[i];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c2[i];
        c0[i] = (product1 >> 32) ^ c1[i] ^ key[0];
        c1[i] = product1 & low;
        c2[i] = (product0 >> 32) ^ c3[i] ^ key[1];
        c3[i] = product0 & low;
      }
      key[0] += 0x9E3779B9;
      key[1] += 0xBB67AE85;
    }
  }
};

/// What the streams of one seed are for; uses never share a stream.
enum class Purpose : std::uint64_t {
  general,
  noise,
  dropout,
  order,
  flip,
  sampling,
  label,
  likelihood,
  interpolation
};

/// A stream of random numbers. A small value: copy it to replay it.
class Rng {
 public:
  /// Stream `number` (below 2^56) of those for `purpose`.
  Rng(std::uint64_t seed, Purpose purpose, Index number)
      : Rng(seed, static_cast<std::uint64_t>(purpose) << 56 | static_cast<std::uint64_t>(number)) {}
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }

  /// The four words at `position`, without moving.
  PhiloxBlock block(std::uint64_t position) const {
    const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    return philox4x32({low(position), low(position >> 32), low(stream_), low(stream_ >> 32)},
                      {low(seed_), low(seed_ >> 32)});
  }

  /// The words of `Lanes` positions from `position` on.
  template <std::size_t Lanes>
  PhiloxBlocks<Lanes> blocks(std::uint64_t position) const {
    constexpr std::uint64_t low = 0xFFFFFFFF;
    PhiloxBlocks<Lanes> result;
    for (std::size_t i = 0; i < Lanes; ++i) {
      result.words[0][i] = (position + i) & low;
      result.words[1][i] = (position + i) >> 32;
      result.words[2][i] = stream_ & low;
      result.words[3][i] = stream_ >> 32;
    }
    result.run({static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    return result;
  }

  /// 32 random bits.
  std::uint32_t next() {
    if (used_ == 4) {
      words_ = block(position_++);
      used_ = 0;
    }
    return words_[used_++];
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform() {
    const std::uint64_t high = next();
    const std::uint64_t bits = (high << 32 | next()) >> 11;
    return static_cast<double>(bits) * 0x1p-53;
  }

  /// Uniform in [0, count). Throws PreconditionError if count < 1.
  Index below(Index count) {
    require(count >= 1, "Rng::below: count is ", count, ", expected at least 1");
    const std::uint64_t high = next();  // 64 bits: the remainder's bias is below count / 2^64
    return static_cast<Index>((high << 32 | next()) % static_cast<std::uint64_t>(count));
  }

  /// A standard normal number.
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));  // 1 - u is never 0
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

  /// A generator with a key of its own, drawn from this one.
  Rng fork() {
    const std::uint64_t high = next();
    return Rng(high << 32 | next(), stream_);
  }

 private:
  std::uint64_t seed_, stream_, position_ = 0;
  PhiloxBlock words_{};
  unsigned used_ = 4;
};

/// Fills `values` with standard normal numbers, two a pair of uniforms.
template <class T>
void fill_normal(View<T> values, Rng& rng) {
  for (Index i = 0; i < values.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
    const double angle = 2 * std::numbers::pi * rng.uniform();
    values[i] = static_cast<T>(radius * std::cos(angle));
    if (i + 1 < values.size()) values[i + 1] = static_cast<T>(radius * std::sin(angle));
  }
}

/// Fills `values` uniformly from [low, high).
template <class T>
void fill_uniform(View<T> values, double low, double high, Rng& rng) {
  for (T& value : values) value = static_cast<T>(low + (high - low) * rng.uniform());
}

}  // namespace ddpm::DDPM_ABI
