// The sum of gradients over the shards of a batch, inside a rank and between ranks, made while the
// backward pass still runs.
//
// Gradients go between ranks in buckets, in the order in which a backward pass gets them done: the
// last layer's first. A large tensor is a bucket by itself and is sent from where it lies; small
// ones are copied together. One thread communicates: rank r gets block r of everybody's bucket
// (all_to_all), adds the blocks up by the tree (distributed/tree_sum.hpp), and hands the sum to all
// (all_gather).
//
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "ddpm/core/elementwise.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/distributed/tree_sum.hpp"

namespace ddpm::DDPM_ABI::distributed {

/// When a bucket was communicated, in seconds since the update began.
struct BucketTime {
  std::size_t bytes;
  double ready, begin, end;  ///< its last gradient was done; the communication began; it ended
};

/// What an update spent on communication.
struct CommunicationTimes {
  std::vector<BucketTime> buckets;
  double gradients_done = 0;  ///< all of this rank's gradients were there
  double end = 0;             ///< and those of all ranks summed

  /// The part of the communication that took place before gradients_done, in [0, 1].
  double hidden_share() const {
    double all = 0, hidden = 0;
    for (const BucketTime& bucket : buckets) {
      all += bucket.end - bucket.begin;
      hidden += std::clamp(gradients_done - bucket.begin, 0.0, bucket.end - bucket.begin);
    }
    return all > 0 ? hidden / all : 1;
  }
};

template <class T>
class GradientSum {
 public:
  /// Values of a bucket, at least: of the first, and of the others.
  static constexpr Index first_bucket = 16 * 1024, large = 256 * 1024;

  /// Of parameters with these shapes, in the order of the forward pass.
  GradientSum(std::vector<Shape> shapes, Ranks ranks)
      : shapes_(std::move(shapes)), ranks_(std::move(ranks)), sums_(shapes_.size()) {
    if (ranks_.size() == 1) return;
    cut_buckets();
    communicated_ = buckets_.size();  // nothing to do before begin()
    thread_ = std::thread([this] { communicate(); });
  }
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;
  ~GradientSum() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  /// An update begins, of so many shards, of which `own` are this rank's.
  void begin(Index shards, Index own) {
    own_ = own;
    shard_ = 0;
    working_ = ranks_at_work(shards, ranks_.size());
    for (auto& sums : sums_) sums.clear();
    told_.assign(sums_.size(), false);
    found_.assign(sums_.size(), 0);
    const std::lock_guard lock(mutex_);
    start_ = Clock::now();
    times_ = {};
    for (Bucket& each : buckets_) {
      each.missing = std::ssize(each.members);
      times_.buckets.push_back({static_cast<std::size_t>(each.size) * sizeof(T), 0, 0, 0});
    }
    communicated_ = 0;
  }

  /// The gradient of parameter `i` in the shard that is being worked on is done. A parameter whose
  /// gradient is not told, or empty, has none; with others it counts as zeros.
  void add(std::size_t i, Tensor<T> gradient) {
    told_[i] = true;
    auto& sums = sums_[i];
    Tensor<T> sum = std::move(gradient);
    for (int joined = sums_to_join(shard_, own_); joined > 0; --joined) {
      sum = added(std::move(sums.back()), std::move(sum));
      sums.pop_back();
    }
    if (!sum.empty()) found_[i] = 1;
    sums.push_back(std::move(sum));
    if (shard_ + 1 == own_ && !buckets_.empty()) count_down(i);
  }

  void end_shard() {
    for (std::size_t i = 0; i < sums_.size(); ++i)
      if (!told_[i]) add(i, {});
    told_.assign(sums_.size(), false);
    ++shard_;
  }

  /// The sums over all shards of all ranks, once they are there; empty where no shard had one.
  /// Throws what the communicator throws.
  PooledVector<Tensor<T>> finish() {
    if (own_ == 0)  // only takes part in the sums of the others
      for (std::size_t i = 0; i < sums_.size(); ++i) {
        sums_[i].emplace_back();
        if (!buckets_.empty()) count_down(i);
      }
    if (!buckets_.empty()) wait();
    find_by_all();
    PooledVector<Tensor<T>> result;
    for (std::size_t i = 0; i < sums_.size(); ++i)
      result.push_back(found_[i] != 0 ? sums_[i].back() : Tensor<T>());
    for (auto& sums : sums_) sums.clear();
    return result;
  }

  /// Of the last update.
  const CommunicationTimes& times() const { return times_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Bucket {
    std::vector<std::size_t> members;
    Index size = 0;     ///< values
    Index missing = 0;  ///< members whose gradient is not there yet
  };

  struct Plus {
    auto operator()(const auto& x, const auto& y) const { return x + y; }
  };

  /// a + b, in the memory of one of them. None and another are that one and zeros, as they are for
  /// ranks that have to send something.
  static Tensor<T> added(Tensor<T> a, Tensor<T> b) {
    if (a.empty()) std::swap(a, b);
    if (a.empty()) return {};
    if (b.empty()) b = Tensor<T>(a.shape(), T(0));
    elementwise<T>(Plus(), a.view(), a, b);
    return a;
  }

  /// From the last parameter to the first.
  void cut_buckets() {
    bucket_of_.resize(shapes_.size());
    Bucket small;
    Index wanted = first_bucket;
    const auto close = [&](Bucket done) {
      for (const std::size_t member : done.members) bucket_of_[member] = buckets_.size();
      buckets_.push_back(std::move(done));
    };
    for (std::size_t i = shapes_.size(); i-- > 0;) {
      if (shapes_[i].size() >= large) {
        close({{i}, shapes_[i].size()});
        continue;
      }
      small.members.push_back(i);
      small.size += shapes_[i].size();
      if (small.size < wanted) continue;
      close(std::exchange(small, {}));
      wanted = large;
    }
    if (!small.members.empty()) close(std::move(small));
  }

  /// Notes which parameters have a gradient in any shard of any rank.
  void find_by_all() {
    if (ranks_.size() == 1) return;
    const auto all = ranks_.gather(std::span<const char>(found_));
    for (std::size_t i = 0; i < all.size(); ++i) found_[i % found_.size()] |= all[i];
  }

  double now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void count_down(std::size_t parameter) {
    const std::size_t number = bucket_of_[parameter];
    {
      const std::lock_guard lock(mutex_);
      if (--buckets_[number].missing > 0) return;
      times_.buckets[number].ready = now();
    }
    changed_.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    times_.gradients_done = now();
    changed_.wait(lock, [&] { return communicated_ == buckets_.size() || error_; });
    times_.end = now();
    if (error_) std::rethrow_exception(error_);
  }

  /// What the thread does.
  void communicate() noexcept {
    std::unique_lock lock(mutex_);
    const auto ready = [&] {
      return stopped_ || (communicated_ < buckets_.size() && buckets_[communicated_].missing == 0);
    };
    while (!error_) {
      changed_.wait(lock, ready);
      if (stopped_) return;
      const std::size_t number = communicated_;
      const double begin = now();
      lock.unlock();
      std::exception_ptr error;
      try {
        sum_over_ranks(buckets_[number]);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      error_ = error;
      times_.buckets[number].begin = begin;
      times_.buckets[number].end = now();
      ++communicated_;
      changed_.notify_all();
    }
  }

  void sum_over_ranks(const Bucket& bucket) {
    Tensor<T> values = gathered(bucket);
    const Index ranks = ranks_.size(), line = 64 / static_cast<Index>(sizeof(T));
    const Index block = (bucket.size + ranks * line - 1) / (ranks * line) * line;
    const Share own = block_of(bucket.size, block, ranks_.rank());
    const Tensor<T> blocks({ranks, own.count});
    const auto all = std::span(values.data(), static_cast<std::size_t>(bucket.size));
    ranks_.all_to_all(std::span<const T>(all), std::span(blocks.begin(), blocks.end()), block);
    T* mine = values.data() + own.first;
    const auto part = [&](Index rank) {
      return rank == ranks_.rank() ? mine : blocks.data() + rank * own.count;
    };
    tree_sum(working_, [&](Index i, Index j) {
      T* sum = i == 0 && 2 * j >= working_ ? mine
                                           : part(i);  // the last one stands where it is sent from
      simd::map<T>(Plus(), own.count, sum, static_cast<const T*>(part(i)),
                   static_cast<const T*>(part(j)));
    });
    if (working_ == 1 && part(0) != mine) std::copy_n(part(0), own.count, mine);
    ranks_.all_gather(std::span<const T>(mine, static_cast<std::size_t>(own.count)), all, block);
    scatter(bucket, values);
  }

  /// A bucket's values: a large tensor itself, or small ones one behind the other.
  Tensor<T> gathered(const Bucket& bucket) {
    for (const std::size_t member : bucket.members)
      if (Tensor<T>& sum = sums_[member].back(); sum.empty())
        sum = Tensor<T>(shapes_[member], T(0));
    if (bucket.members.size() == 1) return sums_[bucket.members[0]].back();
    Tensor<T> values({bucket.size});
    T* to = values.data();
    for (const std::size_t member : bucket.members)
      to = std::copy(sums_[member].back().begin(), sums_[member].back().end(), to);
    return values;
  }

  void scatter(const Bucket& bucket, const Tensor<T>& values) {
    if (bucket.members.size() == 1) return;
    const T* from = values.data();
    for (const std::size_t member : bucket.members) {
      const Tensor<T>& sum = sums_[member].back();
      std::copy_n(from, sum.size(), sum.data());
      from += sum.size();
    }
  }

  std::vector<Shape> shapes_;
  Ranks ranks_;
  std::vector<std::vector<Tensor<T>>> sums_;  ///< of each parameter, the largest first
  std::vector<bool> told_;                    ///< in this shard
  std::vector<char> found_;                   ///< 1: has a gradient in some shard
  Index own_ = 1, shard_ = 0, working_ = 1;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_;

  std::mutex mutex_;  ///< of missing, communicated_, times_, error_, stopped_
  std::condition_variable changed_;
  std::size_t communicated_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
  Clock::time_point start_;
  CommunicationTimes times_;
  std::thread thread_;
};

}  // namespace ddpm::DDPM_ABI::distributed
