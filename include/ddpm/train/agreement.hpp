// What the trainers of all ranks tell each other, so that they make one run. What only many ranks
// need is compiled only where Trainer::distribute() is called.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "ddpm/core/pooled_vector.hpp"
#include "ddpm/distributed/communicator.hpp"
#include "ddpm/distributed/tree_sum.hpp"
#include "ddpm/io/crc32.hpp"
#include "ddpm/train/run_state.hpp"

namespace ddpm::DDPM_ABI {

/// How a training goes on after an update.
struct Decision {
  Index steps;  ///< of the fit() that runs
  bool stop;    ///< now
  bool save;    ///< a run state
};

/// One process: it agrees with itself.
class Agreement {
 public:
  Agreement() = default;
  Agreement(const Agreement&) = delete;
  Agreement& operator=(const Agreement&) = delete;
  virtual ~Agreement() = default;

  /// Throws PreconditionError unless all ranks are about to make the same run.
  virtual void check_run(const RunSnapshot&) const {}
  /// Steps and saving as rank 0 wants them; stops if any rank wants that.
  virtual Decision decide(const Decision& mine) const { return mine; }
  /// Adds to this rank's records, of `size` values for each of its shards, those of the other ranks
  /// for an update of so many shards.
  virtual void gather(PooledVector<double>& /*records*/, std::size_t /*size*/,
                      Index /*shards*/) const {}
  /// Throws std::runtime_error unless all ranks have computed the same norm, bit for bit.
  virtual void check_norm(double) const {}
};

/// Many ranks.
class RankAgreement final : public Agreement {
 public:
  /// `settings`: those that the description of a run does not tell.
  RankAgreement(distributed::Ranks ranks, std::string settings)
      : ranks_(std::move(ranks)), settings_(std::move(settings)) {}

  void check_run(const RunSnapshot& run) const override {
    constexpr std::array<const char*, 4> things{
        "other data than rank 0 (of which number, shape, all labels and 64 images are compared)",
        "made another number of updates than rank 0: to go on, each rank reads the run's folder",
        "other settings of the network, the scheduler or the training than rank 0",
        "other weights than rank 0"};
    std::array<io::Crc32, things.size()> sums;
    sums[2].add(settings_.data(), settings_.size());
    for (const auto& [name, value] : run.metadata) {
      io::Crc32& sum = sums[name.starts_with("data.") ? 0 : name.starts_with("run.") ? 1 : 2];
      sum.add(name.c_str(), name.size() + 1);
      sum.add(value.c_str(), value.size() + 1);
    }
    for (const auto& tensor : run.tensors) sums[3].add(tensor.data, tensor.bytes());
    std::array<Index, things.size()> mine;
    for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = static_cast<Index>(sums[i].value());
    const auto all = ranks_.gather(std::span<const Index>(mine));
    for (std::size_t i = 0; i < all.size(); ++i)
      require(all[i] == all[i % mine.size()], "Trainer::fit: rank ", i / mine.size(), " has ",
              things[i % mine.size()]);
  }

  Decision decide(const Decision& mine) const override {
    const std::array<Index, 3> told{mine.stop ? 1 : 0, mine.steps, mine.save ? 1 : 0};
    const auto all = ranks_.gather(std::span<const Index>(told));
    Decision result{all[1], false, all[2] != 0};
    for (std::size_t rank = 0; rank < all.size(); rank += told.size())
      result.stop = result.stop || all[rank] != 0;
    return result;
  }

  void gather(PooledVector<double>& records, std::size_t size, Index shards) const override {
    PooledVector<double> all(static_cast<std::size_t>(shards) * size);
    // Each rank has as many shards as the first, or the last ones fewer.
    const Index most = distributed::shards_of(shards, 0, ranks_.size()).count;
    ranks_.all_gather(std::span<const double>(records), std::span(all),
                      most * static_cast<Index>(size));
    records = std::move(all);
  }

  void check_norm(double norm) const override {
    const auto mine = std::bit_cast<std::uint64_t>(norm);
    const auto all = ranks_.gather(std::span(&mine, 1));
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      if (all[rank] != all[0])
        throw std::runtime_error(message("Trainer::fit: rank ", rank,
                                         " has computed another norm of the same gradients than "
                                         "rank 0; all ranks need the same program, on processors "
                                         "of the same kind"));
  }

 private:
  distributed::Ranks ranks_;
  std::string settings_;
};

}  // namespace ddpm::DDPM_ABI
