// The sum of gradients over the shards of a batch, by the tree of distributed/tree_sum.hpp, made
// while the backward pass still runs: here over those of this process. rank_gradient_sum.hpp goes
// on between ranks.
//
// SPDX-License-Identifier: MIT
#pragma once

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

/// The sums of one process.
template <class T>
class GradientSum {
 public:
  explicit GradientSum(std::size_t parameters) : sums_(parameters) {}
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;
  virtual ~GradientSum() = default;

  /// An update begins, of so many shards, of which `own` are this rank's.
  void begin(Index shards, Index own) {
    own_ = own;
    shard_ = 0;
    for (auto& sums : sums_) sums.clear();
    told_.assign(sums_.size(), 0);
    found_.assign(sums_.size(), 0);
    begin_ranks(shards);
  }

  /// The gradient of parameter `i` in the shard that is being worked on is done. A parameter whose
  /// gradient is not told, or empty, has none; with others it counts as zeros.
  void add(std::size_t i, Tensor<T> gradient) {
    told_[i] = 1;
    auto& sums = sums_[i];
    Tensor<T> sum = std::move(gradient);
    for (int joined = sums_to_join(shard_, own_); joined > 0; --joined) {
      sum = added(std::move(sums.back()), std::move(sum));
      sums.pop_back();
    }
    if (!sum.empty()) found_[i] = 1;
    sums.push_back(std::move(sum));
    if (shard_ + 1 == own_) tell_ranks(i);
  }

  void end_shard() {
    for (std::size_t i = 0; i < sums_.size(); ++i)
      if (told_[i] == 0) add(i, {});
    told_.assign(sums_.size(), 0);
    ++shard_;
  }

  /// Calls take(i, sum) for each parameter with the sum over all shards of all ranks, once they are
  /// there, but for parameters that had none. Throws what the communicator throws.
  template <class Take>
  void finish(const Take& take) {
    if (own_ == 0)  // only takes part in the sums of the others
      for (std::size_t i = 0; i < sums_.size(); ++i) {
        sums_[i].emplace_back();
        tell_ranks(i);
      }
    wait_for_ranks();
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      if (found_[i] != 0) take(i, sums_[i].back());
      sums_[i].clear();
    }
  }

  /// Of the last update.
  const CommunicationTimes& times() const { return times_; }

 protected:
  struct Plus {
    auto operator()(const auto& x, const auto& y) const { return x + y; }
  };

  /// An update of so many shards begins.
  virtual void begin_ranks(Index) {}
  /// This rank's sum of parameter number `i`, sums_[i].back(), is there.
  virtual void tell_ranks(std::size_t) {}
  /// Returns when sums_ and found_ are those of all ranks.
  virtual void wait_for_ranks() {}

  std::vector<std::vector<Tensor<T>>> sums_;  ///< of each parameter, the largest first
  std::vector<Index> found_;                  ///< 1: has a gradient in some shard
  CommunicationTimes times_;

 private:
  /// a + b, in the memory of one of them. None and another are that one and zeros, as they are for
  /// ranks that have to send something.
  static Tensor<T> added(Tensor<T> a, Tensor<T> b) {
    if (a.empty()) std::swap(a, b);
    if (a.empty()) return {};
    if (b.empty()) b = Tensor<T>(a.shape(), T(0));
    elementwise<T>(Plus(), a.view(), a, b);
    return a;
  }

  std::vector<Index> told_;  ///< 1: in this shard
  Index own_ = 1, shard_ = 0;
};

}  // namespace ddpm::DDPM_ABI::distributed
