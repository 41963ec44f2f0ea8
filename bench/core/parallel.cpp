// What it costs to hand out work: parallel_for over tasks that do nothing.
#include "ddpm/core/parallel.hpp"

#include <benchmark/benchmark.h>

namespace {

using namespace ddpm;

void hand_out(benchmark::State& state) {
  set_num_threads(static_cast<int>(state.range(1)));
  for (auto _ : state) parallel_for(state.range(0), [](Index i) { benchmark::DoNotOptimize(i); });
  set_num_threads(detail::default_num_threads());
}

BENCHMARK(hand_out)
    ->Name("parallel_for")
    ->ArgNames({"tasks", "threads"})
    ->UseRealTime()
    ->Args({2, 1})
    ->Args({2, 2})
    ->Args({32, 2})
    ->Args({1024, 2});

}  // namespace

BENCHMARK_MAIN();
