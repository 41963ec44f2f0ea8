// Transposed convolution 4x4 of stride 2: the layers of the tutorial's network.
#include "ddpm/kernels/conv/conv_transpose2d.hpp"

#include "../../peak.hpp"

namespace {

using namespace ddpm;

const ConvGeometry twice{2, Padding::same(1)};

void forward(benchmark::State& state) {
  const Index N = state.range(0), HW = state.range(1), in = state.range(2), out = state.range(3);
  const Tensor<float> x({N, HW, HW, in}, 1.0F), w({4, 4, in, out}, 1.0F);
  const Tensor<float> y({N, 2 * HW, 2 * HW, out});
  for (auto _ : state) kernels::conv_transpose2d_forward<float>(x, w, {}, twice, y);
  bench::report(state, 2.0 * double(x.size() * 16 * out));
}

void backward(benchmark::State& state) {
  const Index N = state.range(0), HW = state.range(1), in = state.range(2), out = state.range(3);
  const Tensor<float> x({N, HW, HW, in}, 1.0F), w({4, 4, in, out}, 1.0F), dx(x.shape());
  const Tensor<float> dy({N, 2 * HW, 2 * HW, out}, 1.0F), dw(w.shape());
  for (auto _ : state) kernels::conv_transpose2d_backward<float>(dy, x, w, twice, dx, dw, {});
  bench::report(state, 4.0 * double(x.size() * 16 * out));
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "HW", "in", "out"})->UseRealTime();
  benchmark->Args({32, 2, 256, 256})->Args({32, 4, 256, 128})->Args({32, 8, 128, 64});
  benchmark->Args({32, 16, 64, 32})->Args({3, 7, 13, 17});
}

BENCHMARK(forward)->Name("conv_transpose2d")->Apply(layers);
BENCHMARK(backward)->Name("conv_transpose2d_backward")->Apply(layers);

}  // namespace

BENCHMARK_MAIN();
