// The machine's multiply-add peak, measured, and the rates that are told as a share of it.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ddpm/core/parallel.hpp"
#include "ddpm/core/precision.hpp"
#include "ddpm/core/simd.hpp"
#include "ddpm/core/tensor.hpp"
#include "ddpm/kernels/product/amx.hpp"

namespace bench {

using namespace ddpm;

/// Floating-point operations a second of `threads` threads that do nothing but multiply and add in
/// registers; the best of several tries.
template <class T>
double measure_peak(Index threads) {
  constexpr int chains = 12;  // enough to hide the latency, few enough for 16 registers
  constexpr Index rounds = 2'000'000;
  double best = 0;
  for (int trial = 0; trial < 5; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(threads, [&](Index) {
      simd::Pack<T> sum[chains];
      for (auto& s : sum) s = simd::Pack<T>(T(1));
      simd::Pack<T> factor(T(0.999)), term(T(0.001));
      benchmark::DoNotOptimize(factor);
      benchmark::DoNotOptimize(term);
      for (Index i = 0; i < rounds; ++i)
        for (auto& s : sum) s = simd::fma(s, factor, term);
      for (auto& s : sum) benchmark::DoNotOptimize(s);
    });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, double(threads * rounds * chains * 2 * simd::width<T>) / seconds);
  }
  return best;
}

#ifdef DDPM_AMX
/// The same of AMX's products of bfloat16 pairs; `threads` threads that multiply tiles of ones.
inline double measure_tile_peak(Index threads) {
  constexpr Index rounds = 1'000'000, products = 6;
  constexpr double flop = 2.0 * 16 * 16 * 32;  // of a product
  alignas(64) static constexpr auto ones = [] {
    std::array<std::uint32_t, 256> result{};
    result.fill(0x3f803f80);
    return result;
  }();
  double best = 0;
  for (int trial = 0; trial < 5; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(threads, [&](Index) {
      const kernels::amx::Tiles tiles;
      _tile_loadd(6, ones.data(), 64);
      _tile_loadd(7, ones.data(), 64);
      for (Index i = 0; i < rounds; ++i) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
      }
    });
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, double(threads * rounds * products) * flop / seconds);
  }
  return best;
}
#endif

/// Bytes a second that as many threads as are set read from memory; the best of several tries.
inline double measure_bandwidth() {
  constexpr Index count = Index{64} << 20, block = Index{1} << 16;  // 256 MB: no cache holds them
  const Tensor<float> values({count}, 1.0F);
  std::vector<float> sums(static_cast<std::size_t>(count / block));
  double best = 0;
  for (int trial = 0; trial < 5; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(count / block, [&](Index i) {
      sums[static_cast<std::size_t>(i)] =
          simd::sum([](const auto& v) { return v; }, block, values.data() + i * block);
    });
    benchmark::DoNotOptimize(sums.data());
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, double(count) * sizeof(float) / seconds);
  }
  return best;
}

/// Of as many threads as are set, measured once for each number.
template <class T>
double peak() {
  static std::map<int, double> measured;
  double& value = measured[num_threads()];
  if (value == 0) value = measure_peak<T>(num_threads());
  return value;
}

/// That of this thread's precision: of AMX's tiles if products go there.
template <class T>
double peak_of_precision() {
#ifdef DDPM_AMX
  if (matmul_precision() == Precision::bfloat16 && kernels::amx::granted()) {
    static std::map<int, double> measured;
    double& value = measured[num_threads()];
    if (value == 0) value = measure_tile_peak(num_threads());
    return value;
  }
#endif
  return peak<T>();
}

/// Reports `flop` operations an iteration as GFLOP/s and as a share of the peak.
template <class T = float>
void report(benchmark::State& state, double flop) {
  using Counter = benchmark::Counter;
  const double per_iteration = double(state.iterations());
  state.counters["GFLOP/s"] = Counter(flop * per_iteration / 1e9, Counter::kIsRate);
  state.counters["of_peak"] =
      Counter(flop * per_iteration / peak_of_precision<T>(), Counter::kIsRate);
}

/// Reports memory traffic where that is the limit.
inline void report_bytes(benchmark::State& state, double bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes * double(state.iterations())));
}

/// Notes the roofs in the output: peak in GFLOP/s and bandwidth in GB/s.
inline void report_roofs() {
  benchmark::AddCustomContext("peak", std::to_string(peak<float>() / 1e9));
  benchmark::AddCustomContext("bandwidth", std::to_string(measure_bandwidth() / 1e9));
}

}  // namespace bench
