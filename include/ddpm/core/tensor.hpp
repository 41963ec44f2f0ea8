// View<T>: a non-owning window, the only thing kernels see.
// Tensor<T>: a handle to shared, recycled storage. Copies alias, as in NumPy and PyTorch; clone()
// copies. Constness is that of the handle: a const Tensor still gives a writable view.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cassert>
#include <type_traits>

#include "ddpm/core/memory.hpp"
#include "ddpm/core/shape.hpp"

namespace ddpm::DDPM_ABI {

/// Dense row-major values. An empty view (no data) means "not given" or "not needed".
template <class T>
struct View {
  T* data = nullptr;
  Shape shape;

  View() = default;
  View(T* values, const Shape& extents) : data(values), shape(extents) {}
  operator View<const T>() const requires(!std::is_const_v<T>) { return {data, shape}; }

  bool empty() const { return data == nullptr; }
  Index size() const { return shape.size(); }
  Index dim(int axis) const { return shape[axis]; }
  T& operator[](Index i) const {
    assert(i >= 0 && i < size());
    return data[i];
  }
  T* begin() const { return data; }
  T* end() const { return data + size(); }
  /// Row i of the values seen as a matrix of shape.back() columns.
  T* row(Index i) const {
    assert(i >= 0 && i * shape.back() <= size());
    return data + i * shape.back();
  }
};

/// Throws PreconditionError "<what> is <got>, expected <expected>" unless the view has that shape
/// or is empty, which means "not given" or "not needed".
template <class T>
void require_shape_if_given(const char* what, const View<T>& view, const Shape& expected) {
  if (!view.empty()) require_shape(what, view.shape, expected);
}

/// An array of T with up to four extents; see the head of this file.
template <class T>
class Tensor {
 public:
  /// No array: shape(), rank 0, size 0.
  Tensor() = default;
  /// Values are not initialised. Throws std::bad_alloc.
  explicit Tensor(const Shape& shape)
      : storage_(static_cast<std::size_t>(shape.size()) * sizeof(T)), shape_(shape) {}
  Tensor(const Shape& shape, T value) : Tensor(shape) { fill(value); }
  /// Copies `values`, row-major. Throws PreconditionError if their number is not the shape's.
  Tensor(const Shape& shape, std::initializer_list<T> values) : Tensor(shape) {
    require(static_cast<Index>(values.size()) == shape.size(), "Tensor: ", values.size(),
            " values for shape ", shape);
    std::copy(values.begin(), values.end(), data());
  }

  const Shape& shape() const { return shape_; }
  Index size() const { return shape_.size(); }
  Index dim(int axis) const { return shape_[axis]; }
  bool empty() const { return storage_.data() == nullptr; }
  T* data() const { return static_cast<T*>(storage_.data()); }
  T& operator[](Index i) const {
    assert(i >= 0 && i < size());
    return data()[i];
  }
  T* begin() const { return data(); }
  T* end() const { return data() + size(); }

  View<T> view() const { return {data(), shape_}; }
  operator View<T>() const { return view(); }
  operator View<const T>() const { return view(); }

  /// Rows [first, first + count) of the first axis, as a view into this storage.
  /// Throws PreconditionError if they are not all there.
  View<T> slice(Index first, Index count) const {
    require(shape_.rank() > 0 && first >= 0 && count >= 0 && first <= dim(0) - count,
            "Tensor::slice: [", first, ", ", first + count, ") of shape ", shape_);
    const Index stride = dim(0) == 0 ? 0 : size() / dim(0);
    return {data() + first * stride, with_extent0(count)};
  }

  /// The same values under another shape. Throws PreconditionError if the sizes differ.
  Tensor reshape(const Shape& shape) const {
    require(shape.size() == size(), "Tensor::reshape: ", shape_, " does not become ", shape);
    Tensor result = *this;
    result.shape_ = shape;
    return result;
  }

  Tensor clone() const {
    if (empty()) return {};
    Tensor result(shape_);
    std::copy(begin(), end(), result.begin());
    return result;
  }

  void fill(T value) const { std::fill(begin(), end(), value); }

  /// True if no other handle shares the storage.
  bool unique() const { return !empty() && storage_.unique(); }
  /// What keeps the values alive.
  const memory::Shared& storage() const { return storage_; }

 private:
  Shape with_extent0(Index count) const {
    switch (shape_.rank()) {
      case 1: return {count};
      case 2: return {count, dim(1)};
      case 3: return {count, dim(1), dim(2)};
      default: return {count, dim(1), dim(2), dim(3)};
    }
  }

  memory::Shared storage_;
  Shape shape_;
};

/// An array of its own with the values of a view.
template <class T>
Tensor<std::remove_const_t<T>> copy_of(View<T> view) {
  Tensor<std::remove_const_t<T>> result(view.shape);
  std::copy(view.begin(), view.end(), result.begin());
  return result;
}

}  // namespace ddpm::DDPM_ABI
