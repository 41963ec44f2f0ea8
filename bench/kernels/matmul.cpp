// Matrix product: the shapes of 1x1 convolutions, attention and linear layers, at both
// precisions; the plain loops.
#include "ddpm/kernels/matmul.hpp"

#include "../../tests/reference/reference.hpp"
#include "../peak.hpp"

namespace {

using namespace ddpm;

template <Precision precision>
void forward(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Index M = state.range(0), K = state.range(1), N = state.range(2);
  const Tensor<float> a({M, K}, 1.0F), b({K, N}, 1.0F), c({M, N});
  for (auto _ : state) kernels::matmul_forward<float>(a, b, c);
  bench::report(state, 2.0 * double(M * K * N));
}

template <Precision precision>
void backward(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Index M = state.range(0), K = state.range(1), N = state.range(2);
  const Tensor<float> a({M, K}, 1.0F), b({K, N}, 1.0F), dc({M, N}, 1.0F);
  const Tensor<float> da({M, K}), db({K, N});
  for (auto _ : state) kernels::matmul_backward<float>(dc, a, b, da, db);
  bench::report(state, 4.0 * double(M * K * N));
}

void plain_loops(benchmark::State& state) {
  const Index M = state.range(0), K = state.range(1), N = state.range(2);
  const Tensor<float> a({M, K}, 1.0F), b({K, N}, 1.0F);
  for (auto _ : state) benchmark::DoNotOptimize(reference::matmul(a, b));
  bench::report(state, 2.0 * double(M * K * N));
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"M", "K", "N"})->UseRealTime();
  benchmark->Args({2048, 256, 768})->Args({2048, 512, 256})->Args({256, 256, 256});
  benchmark->Args({64, 512, 512})->Args({256, 16, 256})->Args({97, 131, 33});
}

BENCHMARK(forward<Precision::float32>)->Name("matmul")->Apply(shapes);
BENCHMARK(backward<Precision::float32>)->Name("matmul_backward")->Apply(shapes);
BENCHMARK(forward<Precision::bfloat16>)->Name("matmul_bfloat16")->Apply(shapes);
BENCHMARK(backward<Precision::bfloat16>)->Name("matmul_backward_bfloat16")->Apply(shapes);
BENCHMARK(plain_loops)
    ->Name("matmul_plain_loops")
    ->ArgNames({"M", "K", "N"})
    ->Args({256, 256, 256});

}  // namespace

BENCHMARK_MAIN();
