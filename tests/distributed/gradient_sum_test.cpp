#include "ddpm/distributed/rank_gradient_sum.hpp"

#include <mutex>

#include "../support.hpp"
#include "thread_ranks.hpp"

using namespace ddpm_test;

namespace {

/// The tree's sum over shards [first, first + length), written as its definition reads; length is a
/// power of two, shards past the end are not there.
double tree_of(const std::vector<float>& shards, std::size_t first, std::size_t length) {
  if (length == 1) return shards[first];
  const auto left = static_cast<float>(tree_of(shards, first, length / 2));
  if (first + length / 2 >= shards.size()) return left;
  return left + static_cast<float>(tree_of(shards, first + length / 2, length / 2));
}

/// Gradients of `parameters` in each shard; some are missing.
std::vector<std::vector<Tensor<float>>> random_shards(const std::vector<Shape>& parameters,
                                                      Index shards, Index seed) {
  std::vector<std::vector<Tensor<float>>> result;
  for (Index s = 0; s < shards; ++s) {
    result.emplace_back();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      Rng rng(static_cast<std::uint64_t>(seed), Purpose::noise,
              s * std::ssize(parameters) + static_cast<Index>(p));
      const bool missing = p == 1 || (p == 2 && rng.below(2) == 0);
      result.back().push_back(missing ? Tensor<float>() : Tensor<float>(parameters[p]));
      if (missing) continue;
      fill_normal<float>(result.back().back(), rng);
      for (Index i = 0; i < parameters[p].size(); i += 3) result.back().back()[i] = -0.0F;
    }
  }
  return result;
}

/// What each parameter's sum has to be; empty where no shard has a gradient.
std::vector<Tensor<float>> trees_of(const std::vector<Shape>& parameters,
                                    const std::vector<std::vector<Tensor<float>>>& gradients) {
  std::vector<Tensor<float>> result(parameters.size());
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    bool any = false;
    for (const auto& shard : gradients) any = any || !shard[p].empty();
    if (!any) continue;
    result[p] = Tensor<float>(parameters[p]);
    std::vector<float> values(gradients.size());
    for (Index i = 0; i < result[p].size(); ++i) {
      for (std::size_t s = 0; s < values.size(); ++s)
        values[s] = gradients[s][p].empty() ? 0.0F : gradients[s][p][i];
      result[p][i] = float(tree_of(values, 0, std::bit_ceil(values.size())));
    }
  }
  return result;
}

}  // namespace

TEST_CASE("shards_of: blocks of a power of two, for any number of ranks") {
  using distributed::shards_of;
  for (Index shards = 1; shards <= 40; ++shards)
    for (Index ranks = 1; ranks <= shards; ++ranks) {
      const Index block = shards_of(shards, 0, ranks).count;
      Index next = 0;
      for (Index rank = 0; rank < ranks; ++rank) {
        const auto share = shards_of(shards, rank, ranks);
        if (share.count > 0) CHECK(share.first == next);
        if (rank + 1 < ranks && share.first + share.count < shards)
          CHECK(std::has_single_bit(static_cast<unsigned>(share.count)));
        CHECK(share.count <= std::max<Index>(block, 1));
        next += share.count;
      }
      CHECK(next == shards);
      CHECK(distributed::ranks_at_work(shards, ranks) <= ranks);
    }
}

TEST_CASE("GradientSum: one tree over all shards, whatever the number of ranks") {
  const std::vector<Shape> parameters{{3, 3, 2, 5}, {7}, {11}, {1}, {300, 1000}, {17, 13}};
  for (const Index shards : {1, 2, 3, 4, 5, 7, 8, 12, 13}) {
    const auto gradients = random_shards(parameters, shards, shards);
    const auto expected = trees_of(parameters, gradients);
    for (const Index ranks : {1, 2, 3, 4, 5, 8}) {
      if (ranks > shards) continue;
      CAPTURE(shards);
      CAPTURE(ranks);
      std::mutex mutex;
      run_ranks(ranks, [&](ThreadRanks& rank) {
        std::unique_ptr<distributed::GradientSum<float>> summed;
        if (ranks == 1)
          summed = std::make_unique<distributed::GradientSum<float>>(parameters.size());
        else
          summed = std::make_unique<distributed::RankGradientSum<float>>(parameters,
                                                                         distributed::Ranks(rank));
        auto& sum = *summed;
        const auto own = distributed::shards_of(shards, rank.rank(), ranks);
        for (int update = 0; update < 2; ++update) {
          sum.begin(shards, own.count);
          for (Index s = own.first; s < own.first + own.count; ++s) {
            for (std::size_t p = parameters.size(); p-- > 0;)
              if (const auto& gradient = gradients[static_cast<std::size_t>(s)][p];
                  !gradient.empty())
                sum.add(p, gradient.clone());
            sum.end_shard();
          }
          std::vector<Tensor<float>> sums(parameters.size());
          sum.finish([&](std::size_t p, const Tensor<float>& of_all) { sums[p] = of_all; });
          const std::lock_guard lock(mutex);  // doctest's checks
          for (std::size_t p = 0; p < parameters.size(); ++p) {
            REQUIRE(sums[p].empty() == expected[p].empty());
            Index wrong = 0;
            for (Index i = 0; i < sums[p].size(); ++i)
              wrong += std::bit_cast<std::uint32_t>(expected[p][i]) !=
                       std::bit_cast<std::uint32_t>(sums[p][i]);
            CHECK(wrong == 0);
          }
        }
      });
    }
  }
}

TEST_CASE("GradientSum: what the communicator throws ends the update") {
  const auto said = run_ranks(2, [&](ThreadRanks& rank) {
    distributed::RankGradientSum<float> sum({{3}}, distributed::Ranks(rank));
    sum.begin(2, 1);
    if (rank.rank() == 1) return rank.abort("no more");
    sum.add(0, Tensor<float>({3}, 1.0F));
    sum.end_shard();
    sum.finish([](std::size_t, const Tensor<float>&) {});
  });
  CHECK(said == "rank 1: no more");
}

TEST_CASE("CommunicationTimes: the share that is hidden") {
  distributed::CommunicationTimes times;
  CHECK(times.hidden_share() == 1);
  times.buckets = {{4, 0, 1, 2}, {4, 2, 3, 5}, {4, 5, 6, 7}};
  times.gradients_done = 4;
  CHECK(times.hidden_share() == doctest::Approx(0.5));
}
