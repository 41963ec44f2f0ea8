// Recycled, 64-byte aligned memory.
//
// Freed blocks go to a free list of their size class and are handed out again, so that a training
// step of a fixed shape takes nothing from the system after the first: no page faults, no cold
// memory. A block of 512 bytes or more wastes at most one eighth. Blocks go back to the system only
// in trim().
//
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "ddpm/core/fork.hpp"
#include "ddpm/core/shape.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define DDPM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DDPM_ASAN 1
#endif
#endif
#ifdef DDPM_ASAN
#include <sanitizer/asan_interface.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace ddpm::DDPM_ABI {

namespace memory {

inline constexpr std::size_t alignment = 64;  // a cache line, and the widest pack

/// Counters of the whole process. Bytes are those of size classes, headers included.
struct Statistics {
  std::size_t system_allocations = 0;  ///< blocks taken from the system since the start
  std::size_t bytes_in_use = 0;        ///< held by live arrays
  std::size_t bytes_cached = 0;        ///< free, kept for reuse
  std::size_t peak_bytes_in_use = 0;   ///< since the start or the last reset_peak()
  /// Of the blocks in use and cached, the part that arrays have asked for: a block is rounded up,
  /// and the system gives memory only to what is written.
  std::size_t bytes_touched = 0;
};

namespace detail {

/// Stands in front of every block; `next` links free blocks.
struct alignas(alignment) Header {
  Header* next = nullptr;
  std::size_t size_class = 0;
  std::size_t touched = 0;  ///< the most that was asked for
  std::atomic<std::size_t> references{0};
};

/// Eight classes for each power of two: 64, 128, ... then steps of one eighth.
inline std::size_t class_of(std::size_t bytes) {
  const std::size_t units = (bytes + alignment - 1) / alignment;
  if (units <= 8) return units;
  const auto exponent = static_cast<std::size_t>(std::bit_width(units - 1)) - 4;
  return 8 * exponent + ((units - 1) >> exponent) + 1;
}

inline std::size_t class_bytes(std::size_t size_class) {
  if (size_class <= 16) return size_class * alignment;
  const std::size_t exponent = (size_class - 9) / 8;
  return ((size_class - 8 * exponent) << exponent) * alignment;
}

inline void poison([[maybe_unused]] Header* block) {
#ifdef DDPM_ASAN
  ASAN_POISON_MEMORY_REGION(block + 1, class_bytes(block->size_class) - sizeof(Header));
#endif
}

inline void unpoison([[maybe_unused]] Header* block) {
#ifdef DDPM_ASAN
  ASAN_UNPOISON_MEMORY_REGION(block + 1, class_bytes(block->size_class) - sizeof(Header));
#endif
}

/// Memory of the system, its inside in pages of 2 MB where the system has them: the processor then
/// finds addresses without a walk through tables. Null if there is none.
inline void* from_system(std::size_t bytes) {
#ifdef _WIN32
  return ::_aligned_malloc(bytes, alignment);
#else
  void* block = std::aligned_alloc(alignment, bytes);
#ifdef __linux__
  constexpr std::uintptr_t huge = std::uintptr_t{1} << 21;
  const auto start = reinterpret_cast<std::uintptr_t>(block);
  const std::uintptr_t first = (start + huge - 1) / huge * huge,
                       last = (start + bytes) / huge * huge;
  if (block != nullptr && first < last)
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return block;
#endif
}

inline void to_system(void* block) {
#ifdef _WIN32
  ::_aligned_free(block);
#else
  std::free(block);
#endif
}

class Pool {
 public:
  void* allocate(std::size_t bytes) {
    if (bytes > max_bytes) throw std::bad_alloc();
    const std::size_t size_class = class_of(bytes + sizeof(Header));
    Header* block = take(size_class, bytes + sizeof(Header));
    if (block == nullptr) {
      void* fresh = from_system(class_bytes(size_class));
      if (fresh == nullptr) throw std::bad_alloc();
      block = new (fresh) Header;
      block->size_class = size_class;
      const std::lock_guard lock(mutex_);
      ++statistics_.system_allocations;
      count_use(block, bytes + sizeof(Header));
    }
    block->references.store(1, std::memory_order_relaxed);
    return block + 1;
  }

  void release(void* data) noexcept {
    Header* block = header(data);
    poison(block);
    const std::lock_guard lock(mutex_);
    block->next = std::exchange(free_[block->size_class], block);
    statistics_.bytes_in_use -= class_bytes(block->size_class);
    statistics_.bytes_cached += class_bytes(block->size_class);
  }

  void trim() noexcept {
    const std::lock_guard lock(mutex_);
    for (Header*& list : free_)
      while (list != nullptr) {
        Header* block = std::exchange(list, list->next);
        statistics_.bytes_touched -= block->touched;
        unpoison(block);
        to_system(block);
      }
    statistics_.bytes_cached = 0;
  }

  Statistics statistics() {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    statistics_.peak_bytes_in_use = statistics_.bytes_in_use;
  }

  static Header* header(void* data) { return static_cast<Header*>(data) - 1; }

  /// Never destroyed: arrays may outlive every static object.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

 private:
  static constexpr std::size_t max_bytes = std::numeric_limits<std::size_t>::max() / 4;

  Pool() {
    const auto unlock = [] { instance().mutex_.unlock(); };
    ddpm::detail::at_fork([] { instance().mutex_.lock(); }, unlock, unlock);
  }

  Header* take(std::size_t size_class, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    Header* block = free_[size_class];
    if (block == nullptr) return nullptr;
    free_[size_class] = block->next;
    statistics_.bytes_cached -= class_bytes(size_class);
    count_use(block, bytes);
    unpoison(block);
    return block;
  }

  void count_use(Header* block, std::size_t bytes) {
    if (bytes > block->touched) statistics_.bytes_touched += bytes - block->touched;
    block->touched = std::max(block->touched, bytes);
    statistics_.bytes_in_use += class_bytes(block->size_class);
    if (statistics_.bytes_in_use > statistics_.peak_bytes_in_use)
      statistics_.peak_bytes_in_use = statistics_.bytes_in_use;
  }

  std::mutex mutex_;
  std::array<Header*, 512> free_{};
  Statistics statistics_;
};

}  // namespace detail

/// At least `bytes` bytes, 64-byte aligned, not cleared. Throws std::bad_alloc.
inline void* allocate(std::size_t bytes) { return detail::Pool::instance().allocate(bytes); }

/// Gives a block of allocate() back for reuse.
inline void release(void* data) noexcept {
  if (data != nullptr) detail::Pool::instance().release(data);
}

/// Returns all cached free blocks to the system.
inline void trim() noexcept { detail::Pool::instance().trim(); }

inline Statistics statistics() { return detail::Pool::instance().statistics(); }
inline void reset_peak() { detail::Pool::instance().reset_peak(); }

/// A block with shared ownership; the count stands in the block itself.
class Shared {
 public:
  Shared() = default;
  explicit Shared(std::size_t bytes) : data_(allocate(bytes)) {}
  Shared(const Shared& other) noexcept : data_(other.data_) {
    if (data_ != nullptr) references().fetch_add(1, std::memory_order_relaxed);
  }
  Shared(Shared&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Shared& operator=(Shared other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Shared() {
    if (data_ != nullptr && references().fetch_sub(1, std::memory_order_acq_rel) == 1)
      release(data_);
  }

  void* data() const { return data_; }
  /// From now on release() gives the block back, not this.
  void give_up() { data_ = nullptr; }
  bool unique() const { return references().load(std::memory_order_acquire) == 1; }

 private:
  std::atomic<std::size_t>& references() const { return detail::Pool::header(data_)->references; }

  void* data_ = nullptr;
};

}  // namespace memory

}  // namespace ddpm::DDPM_ABI
