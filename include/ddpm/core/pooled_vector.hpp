// PooledVector<T>: an array that grows, over recycled memory, for what the training loop makes anew
// at each step. It is std::vector's small part, since each kind of std::vector costs every program
// that trains the compilation of a hundred functions.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

#include "ddpm/core/memory.hpp"

namespace ddpm::DDPM_ABI {

/// Of values whose moves throw nothing. The members it has are those of std::vector, but append().
template <class T>
class PooledVector {
  static_assert(alignof(T) <= memory::alignment && std::is_nothrow_move_constructible_v<T>);

 public:
  using value_type = T;

  PooledVector() = default;
  // By way of the first: if a copy throws, there is something for the destructor to end.
  explicit PooledVector(std::size_t size, const T& value = T()) : PooledVector() {
    assign(size, value);
  }
  PooledVector(std::initializer_list<T> values) : PooledVector() {
    append(values.begin(), values.end());
  }
  template <std::forward_iterator It>
  PooledVector(It first, It last) : PooledVector() {
    append(first, last);
  }
  PooledVector(const PooledVector& other) : PooledVector() { append(other.begin(), other.end()); }
  PooledVector(PooledVector&& other) noexcept { swap(other); }
  PooledVector& operator=(PooledVector other) noexcept {
    swap(other);
    return *this;
  }
  ~PooledVector() {
    clear();
    memory::release(data_);
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T* begin() { return data_; }
  const T* begin() const { return data_; }
  T* end() { return data_ + size_; }
  const T* end() const { return data_ + size_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T& back() { return data_[size_ - 1]; }
  const T& back() const { return data_[size_ - 1]; }

  void push_back(T value) {
    if (size_ == room_) reserve(more_room());
    new (data_ + size_) T(std::move(value));
    ++size_;
  }
  void pop_back() { data_[--size_].~T(); }
  void clear() {
    while (size_ > 0) pop_back();
  }
  void assign(std::size_t size, const T& value) {
    clear();
    reserve(size);
    while (size_ < size) push_back(value);
  }
  /// Puts [first, last), which is no part of this, behind the last value.
  template <std::forward_iterator It>
  void append(It first, It last) {
    const std::size_t size = size_ + static_cast<std::size_t>(std::distance(first, last));
    if (size > room_) reserve(std::max(size, more_room()));
    for (; first != last; ++first) push_back(static_cast<T>(*first));
  }
  void reserve(std::size_t room) {
    if (room <= room_) return;
    if (room > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    T* fresh = static_cast<T*>(memory::allocate(room * sizeof(T)));
    for (std::size_t i = 0; i < size_; ++i) {
      new (fresh + i) T(std::move(data_[i]));
      data_[i].~T();
    }
    memory::release(std::exchange(data_, fresh));
    room_ = room;
  }

 private:
  std::size_t more_room() const { return room_ + room_ / 2 + 8; }
  void swap(PooledVector& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(room_, other.room_);
  }

  T* data_ = nullptr;
  std::size_t size_ = 0, room_ = 0;  ///< values; places for them
};

}  // namespace ddpm::DDPM_ABI
