// The sum of gradients goes on between ranks while the backward pass still runs.
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

#include "ddpm/distributed/gradient_sum.hpp"

namespace ddpm::DDPM_ABI::distributed {

/// The sums of all ranks.
template <class T>
class RankGradientSum final : public GradientSum<T> {
 public:
  /// Values of a bucket, at least: of the first, and of the others.
  static constexpr Index first_bucket = 16 * 1024, large = 256 * 1024;

  /// Of parameters with these shapes, in the order of the forward pass.
  RankGradientSum(std::vector<Shape> shapes, Ranks ranks)
      : GradientSum<T>(shapes.size()), shapes_(std::move(shapes)), ranks_(std::move(ranks)) {
    cut_buckets();
    communicated_ = buckets_.size();  // nothing to do before begin()
    thread_ = std::thread([this] { communicate(); });
  }
  ~RankGradientSum() override {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Plus = typename GradientSum<T>::Plus;

  struct Bucket {
    std::vector<std::size_t> members;
    Index size = 0;     ///< values
    Index missing = 0;  ///< members whose gradient is not there yet
  };

  void begin_ranks(Index shards) override {
    working_ = ranks_at_work(shards, ranks_.size());
    const std::lock_guard lock(mutex_);
    start_ = Clock::now();
    this->times_ = {};
    for (Bucket& each : buckets_) {
      each.missing = std::ssize(each.members);
      this->times_.buckets.push_back({static_cast<std::size_t>(each.size) * sizeof(T), 0, 0, 0});
    }
    communicated_ = 0;
  }

  /// From the last parameter to the first.
  void cut_buckets() {
    bucket_of_.resize(shapes_.size());
    Bucket rest;
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
      rest.members.push_back(i);
      rest.size += shapes_[i].size();
      if (rest.size < wanted) continue;
      close(std::exchange(rest, {}));
      wanted = large;
    }
    if (!rest.members.empty()) close(std::move(rest));
  }

  /// Notes which parameters have a gradient in any shard of any rank.
  void find_by_all() {
    std::vector<Index>& found = this->found_;
    const auto all = ranks_.gather(std::span<const Index>(found));
    for (std::size_t i = 0; i < all.size(); ++i) found[i % found.size()] |= all[i];
  }

  double now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  void tell_ranks(std::size_t parameter) override {
    const std::size_t number = bucket_of_[parameter];
    {
      const std::lock_guard lock(mutex_);
      if (--buckets_[number].missing > 0) return;
      this->times_.buckets[number].ready = now();
    }
    changed_.notify_all();
  }

  void wait_for_ranks() override {
    std::unique_lock lock(mutex_);
    this->times_.gradients_done = now();
    changed_.wait(lock, [&] { return communicated_ == buckets_.size() || error_; });
    this->times_.end = now();
    if (error_) std::rethrow_exception(error_);
    lock.unlock();
    find_by_all();
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
      this->times_.buckets[number].begin = begin;
      this->times_.buckets[number].end = now();
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
      const bool last = i == 0 && 2 * j >= working_;  // the sum of all stands where it is sent from
      T* sum = last ? mine : part(i);
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
      if (Tensor<T>& sum = this->sums_[member].back(); sum.empty())
        sum = Tensor<T>(shapes_[member], T(0));
    if (bucket.members.size() == 1) return this->sums_[bucket.members[0]].back();
    Tensor<T> values({bucket.size});
    T* to = values.data();
    for (const std::size_t member : bucket.members)
      to = std::copy(this->sums_[member].back().begin(), this->sums_[member].back().end(), to);
    return values;
  }

  void scatter(const Bucket& bucket, const Tensor<T>& values) {
    if (bucket.members.size() == 1) return;
    const T* from = values.data();
    for (const std::size_t member : bucket.members) {
      const Tensor<T>& sum = this->sums_[member].back();
      std::copy_n(from, sum.size(), sum.data());
      from += sum.size();
    }
  }

  std::vector<Shape> shapes_;
  Ranks ranks_;
  Index working_ = 1;  ///< ranks that have shards
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_;

  std::mutex mutex_;  ///< of missing, communicated_, times_, error_, stopped_
  std::condition_variable changed_;
  std::size_t communicated_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
  Clock::time_point start_;
  std::thread thread_;
};

}  // namespace ddpm::DDPM_ABI::distributed
