// What the tests share: random tensors, comparison, the sizes that break kernels.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "ddpm/autograd/variable.hpp"
#include "ddpm/core/random.hpp"

namespace test {

using namespace ddpm;

template <class T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t seed) {
  Tensor<T> result(shape);
  Rng rng(seed);
  fill_normal<T>(result, rng);
  return result;
}

inline Variable<double> random_parameter(const Shape& shape, std::uint64_t seed) {
  return Variable<double>::parameter(random_tensor<double>(shape, seed));
}

/// Largest |a - b|, over the root mean square of b.
template <class T>
double relative_difference(View<const T> a, View<const T> b) {
  REQUIRE(a.shape == b.shape);
  double largest = 0, squares = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    if (!(difference <= largest)) largest = difference;  // a NaN is the largest
    squares += double(b[i]) * double(b[i]);
  }
  return largest / std::max(std::sqrt(squares / double(std::max<Index>(1, a.size()))), 1e-30);
}

/// What rounding may do to a sum of `terms` products of unit scale, relative to its size.
template <class T>
double tolerance(Index terms) {
  return 16 * double(std::numeric_limits<T>::epsilon()) * std::sqrt(double(terms) + 16);
}

/// True if every bit of two tensors agrees.
template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

/// A folder of its own for a test's files, removed at the end.
struct TemporaryFolder {
  std::filesystem::path path;

  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ddpm-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

/// The text of the exception of type E that f throws.
template <class E, class F>
std::string error_of(const F& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("no exception");
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace test
