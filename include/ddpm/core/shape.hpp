// Shape: up to four extents, row-major, images as (N, H, W, C).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <ostream>

#include "ddpm/core/error.hpp"

namespace ddpm::DDPM_ABI {

using Index = std::int64_t;

/// The extents of an array. Rank 0 is "no array" and has size 0.
class Shape {
 public:
  static constexpr int max_rank = 4;

  Shape() = default;

  /// Throws PreconditionError if there are more than four extents, one is negative, or their
  /// product does not fit in memory.
  Shape(std::initializer_list<Index> extents) {
    require(extents.size() <= max_rank, "Shape: ", extents.size(), " extents, at most ", max_rank);
    size_ = extents.size() == 0 ? 0 : 1;
    for (const Index extent : extents) {
      require(extent >= 0, "Shape: extent ", rank_, " is ", extent, ", must not be negative");
      require(extent == 0 || size_ <= max_size / extent, "Shape: the product of the extents (",
              size_, " x ", extent, " ...) does not fit in memory");
      extents_[static_cast<std::size_t>(rank_++)] = extent;
      size_ *= extent;
    }
  }

  int rank() const { return rank_; }
  Index size() const { return size_; }
  Index operator[](int axis) const {
    assert(axis >= 0 && axis < rank_);
    return extents_[static_cast<std::size_t>(axis)];
  }
  /// The last extent: channels of an image, columns of a matrix.
  Index back() const { return (*this)[rank_ - 1]; }

  friend bool operator==(const Shape&, const Shape&) = default;

  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '(';
    for (int axis = 0; axis < shape.rank_; ++axis) out << (axis ? ", " : "") << shape[axis];
    return out << ')';
  }

 private:
  // Sixteen bytes an element leaves room for every scalar type and for byte offsets.
  static constexpr Index max_size = std::numeric_limits<Index>::max() / 16;

  std::array<Index, max_rank> extents_{};
  Index size_ = 0;
  int rank_ = 0;
};

/// Throws PreconditionError "<what> is <got>, expected <expected>" unless the shapes agree.
inline void require_shape(const char* what, const Shape& got, const Shape& expected) {
  require(got == expected, what, " is ", got, ", expected ", expected);
}

}  // namespace ddpm::DDPM_ABI
