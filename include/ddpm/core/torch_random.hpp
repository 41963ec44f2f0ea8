// The random numbers of PyTorch's generator for the CPU, for results that can be compared with it:
// torch.manual_seed(seed), then torch.rand or torch.randn of float32.
//
// A Mersenne twister (Matsumoto & Nishimura 1998). Uniform numbers have 24 bits. Normal ones by
// Box-Muller: 16 or more come in blocks of 16, whose first half has the radii and the second the
// angles; fewer come one by one. The order of a tensor's values is that of PyTorch's layout, (N, C,
// H, W). In double they are the numbers that PyTorch rounds to float32.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.hpp"

namespace ddpm::DDPM_ABI {

class TorchGenerator {
 public:
  /// As torch.Generator().manual_seed(seed); of the seed the lower 32 bits count.
  explicit TorchGenerator(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

  /// A number of torch.rand, in [0, 1).
  float uniform() { return static_cast<float>(next() & 0xFFFFFF) * 0x1p-24F; }

  /// A number of torch.randint(0, count). Throws PreconditionError if count is less than 1.
  Index below(Index count) {
    require(count >= 1, "TorchGenerator::below: count is ", count, ", expected at least 1");
    const std::uint64_t drawn = count < (Index{1} << 28) ? next() : next_64();
    return static_cast<Index>(drawn % static_cast<std::uint64_t>(count));
  }

  /// torch.randn(values.size()), in order.
  template <class T>
  void fill_normal(std::span<T> values) {
    const std::size_t n = values.size();
    if (n < block) {
      for (T& value : values) value = static_cast<T>(normal());
      return;
    }
    for (T& value : values) value = uniform();
    for (std::size_t i = 0; i + block <= n; i += block) transform(values.subspan(i, block));
    if (n % block == 0) return;
    const auto last = values.last(block);
    for (T& value : last) value = uniform();
    transform(last);
  }

  /// torch.randn(N, C, H, W) as (N, H, W, C), the shape given.
  /// Throws PreconditionError unless the shape has four extents.
  template <class T>
  Tensor<T> normal(const Shape& shape) {
    require(shape.rank() == 4, "TorchGenerator::normal: shape ", shape, ", expected (N, H, W, C)");
    const Index N = shape[0], P = shape[1] * shape[2], C = shape[3];
    std::vector<T> drawn(static_cast<std::size_t>(shape.size()));
    fill_normal<T>(drawn);
    Tensor<T> result(shape);
    for (Index n = 0; n < N; ++n)
      for (Index c = 0; c < C; ++c)
        for (Index p = 0; p < P; ++p)
          result[(n * P + p) * C + c] = drawn[static_cast<std::size_t>((n * C + c) * P + p)];
    return result;
  }

 private:
  static constexpr std::size_t block = 16;

  std::uint64_t next() { return engine_(); }
  std::uint64_t next_64() {
    const std::uint64_t high = next();
    return high << 32 | next();
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform_double() {
    return static_cast<double>(next_64() & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
  }

  /// Two a pair of uniform numbers; the second waits.
  double normal() {
    if (waiting_) return *std::exchange(waiting_, std::nullopt);
    const double angle = 2 * std::numbers::pi * uniform_double();
    const double radius = std::sqrt(-2 * std::log1p(-uniform_double()));
    waiting_ = radius * std::sin(angle);
    return radius * std::cos(angle);
  }

  template <class T>
  static void transform(std::span<T> values) {
    for (std::size_t j = 0; j < block / 2; ++j) {
      const T radius = std::sqrt(-2 * std::log(1 - values[j]));
      const T angle = 2 * std::numbers::pi_v<T> * values[j + block / 2];
      values[j] = radius * std::cos(angle);
      values[j + block / 2] = radius * std::sin(angle);
    }
  }

  std::mt19937 engine_;
  std::optional<double> waiting_;
};

}  // namespace ddpm::DDPM_ABI
