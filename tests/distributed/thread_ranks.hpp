// Ranks that are threads of this process.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <barrier>
#include <cstring>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "ddpm/core/error.hpp"
#include "ddpm/distributed/communicator.hpp"

namespace ddpm_test {

using namespace ddpm;

/// What threads share that stand for ranks.
class ThreadWorld {
 public:
  explicit ThreadWorld(Index size) : from_(static_cast<std::size_t>(size)) {}

  Index size() const { return static_cast<Index>(from_.size()); }

  /// Shows a rank's bytes to all ranks, calls take(all of them), and waits until all have taken.
  template <class Take>
  void exchange(Index rank, std::span<const std::byte> bytes, const Take& take) {
    from_[static_cast<std::size_t>(rank)] = bytes;
    meet(true);
    take(from_);
    meet(false);  // all have come this far, and their bytes must stay until all have taken
  }

  /// A rank has failed and does not come any more.
  void leave() {
    {
      const std::lock_guard lock(mutex_);
      left_ = true;
    }
    changed_.notify_all();
  }

  void abort(Index rank, const std::string& message) {
    {
      const std::lock_guard lock(mutex_);
      if (!aborted_.empty()) return;
      aborted_ = ddpm::message("rank ", rank, ": ", message);
    }
    changed_.notify_all();
  }
  const std::string& aborted() const { return aborted_; }

 private:
  /// Waits until all have come. `may_fail`: throws std::runtime_error if one never will.
  void meet(bool may_fail) {
    std::unique_lock lock(mutex_);
    const Index round = round_;
    if (++here_ == size()) {
      here_ = 0;
      ++round_;
      changed_.notify_all();
    }
    const auto failed = [&] { return may_fail && (left_ || !aborted_.empty()); };
    changed_.wait(lock, [&] { return round_ != round || failed(); });
    if (round_ == round) throw std::runtime_error("another rank has failed: " + aborted_);
  }

  std::vector<std::span<const std::byte>> from_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Index here_ = 0, round_ = 0;
  bool left_ = false;
  std::string aborted_;
};

class ThreadRanks {
 public:
  ThreadRanks(ThreadWorld& world, Index rank) : world_(world), rank_(rank) {}

  Index rank() const { return rank_; }
  Index size() const { return world_.size(); }

  void all_to_all(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    const auto own = distributed::block_of(std::ssize(from), static_cast<Index>(block), rank_);
    world_.exchange(rank_, from, [&](const auto& all) {
      for (std::size_t r = 0; r < all.size() && own.count > 0; ++r)
        if (r != static_cast<std::size_t>(rank_))
          std::memcpy(to.data() + r * static_cast<std::size_t>(own.count),
                      all[r].data() + own.first, static_cast<std::size_t>(own.count));
    });
  }

  void all_gather(std::span<const std::byte> from, std::span<std::byte> to, std::size_t block) {
    world_.exchange(rank_, from, [&](const auto& all) {
      for (std::size_t r = 0; r < all.size(); ++r)
        if (to.data() + r * block != all[r].data() && !all[r].empty())
          std::memcpy(to.data() + r * block, all[r].data(), all[r].size());
    });
  }

  void abort(const std::string& message) { world_.abort(rank_, message); }

 private:
  ThreadWorld& world_;
  Index rank_;
};

/// Calls body(ranks) for each of so many ranks at once. Returns what the aborted ones said, or
/// nothing; rethrows the first error of a rank if none aborted.
inline std::string run_ranks(Index size, const std::function<void(ThreadRanks&)>& body) {
  ThreadWorld world(size);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (Index rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      ThreadRanks ranks(world, rank);
      try {
        body(ranks);
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
        world.leave();
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (world.aborted().empty())
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
  return world.aborted();
}

}  // namespace ddpm_test
