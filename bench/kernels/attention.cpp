// Self-attention: the layers of the three presets, at both precisions.
#include "ddpm/kernels/attention.hpp"

#include "../peak.hpp"

namespace {

using namespace ddpm;

template <Precision precision>
void forward(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Index N = state.range(0), HW = state.range(1), C = state.range(2), heads = state.range(3);
  const Index P = HW * HW;
  const Tensor<float> qkv({N, HW, HW, 3 * C}, 0.1F), y({N, HW, HW, C}), scales({N * heads, P, 2});
  for (auto _ : state) kernels::attention_forward<float>(qkv, heads, y, scales);
  bench::report(state, 4.0 * double(N * P * P * C));
}

template <Precision precision>
void backward(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Index N = state.range(0), HW = state.range(1), C = state.range(2), heads = state.range(3);
  const Index P = HW * HW;
  const Tensor<float> qkv({N, HW, HW, 3 * C}, 0.1F), dy({N, HW, HW, C}, 1.0F);
  const Tensor<float> y(dy.shape()), scales({N * heads, P, 2}), dqkv(qkv.shape());
  kernels::attention_forward<float>(qkv, heads, y, scales);
  for (auto _ : state) kernels::attention_backward<float>(dy, qkv, scales, heads, dqkv);
  bench::report(state, 8.0 * double(N * P * P * C));
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "HW", "C", "heads"})->UseRealTime();
  benchmark->Args({8, 16, 256, 1})->Args({8, 4, 256, 1})->Args({32, 16, 64, 1});
  benchmark->Args({32, 16, 64, 4})->Args({1, 64, 128, 1})->Args({3, 7, 39, 3});
}

BENCHMARK(forward<Precision::float32>)->Name("attention")->Apply(layers);
BENCHMARK(backward<Precision::float32>)->Name("attention_backward")->Apply(layers);
BENCHMARK(forward<Precision::bfloat16>)->Name("attention_bfloat16")->Apply(layers);
BENCHMARK(backward<Precision::bfloat16>)->Name("attention_backward_bfloat16")->Apply(layers);

}  // namespace

BENCHMARK_MAIN();
