// Group normalisation with SiLU: limited by memory, so bytes a second stand beside the operations.
#include "ddpm/kernels/group_norm_gradient.hpp"

#include "../peak.hpp"

namespace {

using namespace ddpm;

const auto silu = kernels::Activation::silu;

void forward(benchmark::State& state) {
  const Index N = state.range(0), HW = state.range(1), C = state.range(2), G = state.range(3);
  const Tensor<float> x({N, HW, HW, C}, 1.0F), scale({C}, 1.0F), y(x.shape());
  const Tensor<float> mean({N, G}), rstd({N, G});
  for (auto _ : state)
    kernels::group_norm_forward<float>(x, scale, scale, 1e-6F, silu, y, {mean, rstd});
  bench::report(state, 10.0 * double(x.size()));
  bench::report_bytes(state, 16.0 * double(x.size()));  // three reads, one write
}

void backward(benchmark::State& state) {
  const Index N = state.range(0), HW = state.range(1), C = state.range(2), G = state.range(3);
  const Tensor<float> x({N, HW, HW, C}, 1.0F), scale({C}, 1.0F), dx(x.shape());
  const Tensor<float> mean({N, G}, 0.0F), rstd({N, G}, 1.0F), dscale({C}), dshift({C});
  for (auto _ : state)
    kernels::group_norm_backward<float>(x, x, scale, scale, silu, {mean, rstd}, dx, dscale, dshift);
  bench::report(state, 20.0 * double(x.size()));
  bench::report_bytes(state, 24.0 * double(x.size()));  // four reads, two writes
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "HW", "C", "G"})->UseRealTime();
  benchmark->Args({8, 32, 128, 32})->Args({8, 16, 256, 32})->Args({8, 4, 256, 32});
  benchmark->Args({32, 32, 32, 32})->Args({3, 7, 33, 3});
}

BENCHMARK(forward)->Name("group_norm_silu")->Apply(layers);
BENCHMARK(backward)->Name("group_norm_silu_backward")->Apply(layers);

}  // namespace

BENCHMARK_MAIN();
