#include "ddpm/core/parallel.hpp"

#include <numeric>
#include <vector>

#include "../support.hpp"

using namespace test;

TEST_CASE("parallel_for: runs every task once, at any number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    CHECK(num_threads() == threads);
    for (const Index count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      parallel_for(count, [&](Index i) { ++runs[static_cast<std::size_t>(i)]; });
      for (const auto& times : runs) CHECK(times == 1);
    }
  }
  set_num_threads(2);
}

TEST_CASE("parallel_for: nests") {
  std::atomic<Index> total{0};
  parallel_for(10, [&](Index i) { parallel_for(10, [&](Index j) { total += i * j; }); });
  CHECK(total == 45 * 45);
}

TEST_CASE("parallel_for [TS-2]: an exception in a task reaches the caller, the pool stays usable") {
  for (const int threads : {1, 4}) {
    set_num_threads(threads);
    for (int round = 0; round < 20; ++round)
      CHECK_THROWS_AS(parallel_for(100,
                                   [](Index i) {
                                     if (i == 57) throw NonFiniteError("task 57");
                                   }),
                      NonFiniteError);
    std::atomic<int> runs{0};
    parallel_for(100, [&](Index) { ++runs; });
    CHECK(runs == 100);
  }
  set_num_threads(2);
}

TEST_CASE("parallel_for: callers on several threads share the pool") {
  set_num_threads(3);
  std::vector<std::thread> callers;
  std::atomic<int> runs{0};
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) parallel_for(20, [&](Index) { ++runs; });
    });
  for (auto& caller : callers) caller.join();
  CHECK(runs == 4 * 50 * 20);
  set_num_threads(2);
}

TEST_CASE("set_num_threads: absurd numbers") {
  CHECK_THROWS_AS(set_num_threads(0), PreconditionError);
  CHECK_THROWS_AS(set_num_threads(-3), PreconditionError);
  CHECK_THROWS_AS(set_num_threads(100000), PreconditionError);
}
