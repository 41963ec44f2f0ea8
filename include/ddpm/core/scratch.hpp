// Scratch<T>: memory of a kernel for the current scope.
//
// Outside of parallel_for it comes from the recycled blocks of memory.hpp. Inside one that several
// threads work on, each thread has an arena, a stack of bytes. When a task wants more than any task
// before it, arenas of that size are made for all threads at once: whichever thread gets which task
// later, none has to grow.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "ddpm/core/memory.hpp"
#include "ddpm/core/parallel.hpp"

namespace ddpm::DDPM_ABI {

namespace detail {

/// The arenas that no thread has taken yet, all of `capacity` bytes.
class SpareArenas {
 public:
  static SpareArenas& instance() {
    static SpareArenas& arenas = *new SpareArenas;  // outlives the threads
    return arenas;
  }

  std::size_t capacity() const { return capacity_.load(std::memory_order_acquire); }

  /// Sees to it that every thread can have an arena of `bytes`.
  void reserve(std::size_t bytes) {
    const int threads = num_threads();
    const std::lock_guard lock(mutex_);
    if (bytes <= capacity()) return;
    for (void* arena : spare_) memory::release(arena);
    spare_.clear();
    spare_.reserve(static_cast<std::size_t>(threads));
    for (int i = 0; i < threads; ++i) spare_.push_back(memory::allocate(bytes));
    capacity_.store(bytes, std::memory_order_release);
  }

  struct Arena {
    void* data;
    std::size_t capacity;
  };
  Arena take() {
    const std::lock_guard lock(mutex_);
    if (spare_.empty()) return {memory::allocate(capacity()), capacity()};
    void* arena = spare_.back();
    spare_.pop_back();
    return {arena, capacity()};
  }

 private:
  SpareArenas() {
    memory::statistics();  // makes the pool, whose lock is the inner one
    const auto unlock = [] { instance().mutex_.unlock(); };
    at_fork([] { instance().mutex_.lock(); }, unlock, unlock);
  }

  std::mutex mutex_;
  std::vector<void*> spare_;
  std::atomic<std::size_t> capacity_{0};
};

/// One thread's arena. It needs no destructor: at the end of its thread the memory goes back, and
/// what is made after that, by destructors of static objects, takes a new one.
class ThreadArena {
 public:
  static ThreadArena& instance() {
    static constinit thread_local ThreadArena arena;
    static thread_local const Releaser releaser{arena};
    (void)releaser;
    return arena;
  }

  /// Bytes from the top of the stack, or a block of its own while the arena is too small.
  void* push(std::size_t bytes) {
    bytes = rounded(bytes);
    const std::size_t wanted = wanted_ + bytes;
    SpareArenas& spare = SpareArenas::instance();
    if (wanted > spare.capacity()) spare.reserve(wanted);
    if (wanted_ == 0 && capacity_ < spare.capacity()) {  // nothing is in use: change arenas
      const SpareArenas::Arena arena = spare.take();
      memory::release(data_);
      data_ = static_cast<std::byte*>(arena.data);
      capacity_ = arena.capacity;
    }
    void* block = used_ + bytes <= capacity_ ? data_ + used_ : memory::allocate(bytes);
    if (block == data_ + used_) used_ += bytes;
    wanted_ = wanted;
    return block;
  }

  void pop(void* block, std::size_t bytes) noexcept {
    bytes = rounded(bytes);
    assert(wanted_ >= bytes);
    wanted_ -= bytes;
    const auto* start = static_cast<std::byte*>(block);
    if (std::less_equal<>()(data_, start) && std::less<>()(start, data_ + capacity_))
      used_ -= bytes;
    else
      memory::release(block);
  }

 private:
  struct Releaser {
    ThreadArena& arena;
    ~Releaser() {
      memory::release(std::exchange(arena.data_, nullptr));
      arena.capacity_ = 0;
    }
  };

  constexpr ThreadArena() = default;

  /// Never 0: every block has a place of its own, so that pop() finds whose it is.
  static std::size_t rounded(std::size_t bytes) {
    return (std::max<std::size_t>(bytes, 1) + memory::alignment - 1) / memory::alignment *
           memory::alignment;
  }

  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0, used_ = 0;
  std::size_t wanted_ = 0;  ///< used, and blocks that did not fit
};

}  // namespace detail

/// Bytes that each thread has for the scratch memory of tasks.
inline std::size_t scratch_bytes() { return detail::SpareArenas::instance().capacity(); }

/// `count` values for the current scope, 64-byte aligned and not cleared. Lives and dies on one
/// thread, the last made first.
template <class T>
class Scratch {
 public:
  explicit Scratch(Index count)
      : bytes_(static_cast<std::size_t>(count) * value_bytes),
        from_arena_(detail::inside_parallel_for),
        data_(static_cast<T*>(from_arena_ ? detail::ThreadArena::instance().push(bytes_)
                                          : memory::allocate(bytes_))) {}
  /// All of them that value.
  Scratch(Index count, const T& value) : Scratch(count) { std::fill_n(data_, count, value); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (from_arena_)
      detail::ThreadArena::instance().pop(data_, bytes_);
    else
      memory::release(data_);
  }

  T* data() const { return data_; }
  T& operator[](Index i) const {
    assert(i >= 0 && static_cast<std::size_t>(i) * value_bytes < bytes_);
    return data_[i];
  }

 private:
  // T may be a pointer. NOLINTNEXTLINE(bugprone-sizeof-expression)
  static constexpr std::size_t value_bytes = sizeof(T);

  std::size_t bytes_;
  bool from_arena_;
  T* data_;
};

}  // namespace ddpm::DDPM_ABI
