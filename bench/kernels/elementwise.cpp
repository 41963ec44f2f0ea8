// Kernels that memory limits: activations, softmax, dropout, loss, pooling, upsampling, concat.
// Bytes a second; operations where the exponential makes them many.
#include "ddpm/kernels/elementwise.hpp"

#include "../peak.hpp"
#include "ddpm/kernels/concat.hpp"
#include "ddpm/kernels/dropout.hpp"
#include "ddpm/kernels/mse.hpp"
#include "ddpm/kernels/pooling.hpp"
#include "ddpm/kernels/softmax.hpp"
#include "ddpm/kernels/time_embedding.hpp"
#include "ddpm/kernels/upsample.hpp"

namespace {

using namespace ddpm;

/// f(x, y, z) on equal arrays (8, 32, 32, 128), `bytes` and `flop` a value.
template <class F>
void run(benchmark::State& state, double bytes, double flop, const F& f) {
  const Tensor<float> x({8, 32, 32, 128}, 0.5F), y(x.shape(), 0.25F), z(x.shape());
  for (auto _ : state) f(x, y, z);
  bench::report(state, flop * double(x.size()));
  bench::report_bytes(state, bytes * double(x.size()));
}

using Array = Tensor<float>;

void silu(benchmark::State& s) {
  run(s, 8, 4, [](Array x, Array, Array z) { kernels::silu_forward<float>(x, z); });
}
void silu_backward(benchmark::State& s) {
  run(s, 12, 8, [](Array x, Array y, Array z) { kernels::silu_backward<float>(x, y, z); });
}
void gelu(benchmark::State& s) {
  run(s, 8, 4, [](Array x, Array, Array z) { kernels::gelu_forward<float>(x, z); });
}
void gelu_backward(benchmark::State& s) {
  run(s, 12, 8, [](Array x, Array y, Array z) { kernels::gelu_backward<float>(x, y, z); });
}
void add(benchmark::State& s) {
  run(s, 12, 1, [](Array x, Array y, Array z) { kernels::add<float>(x, y, z); });
}
void softmax(benchmark::State& s) {
  run(s, 8, 4, [](Array x, Array, Array z) { kernels::softmax_forward<float>(x, z); });
}
void softmax_backward(benchmark::State& s) {
  run(s, 12, 4, [](Array x, Array y, Array z) { kernels::softmax_backward<float>(x, y, z); });
}
void dropout(benchmark::State& s) {
  run(s, 8, 1, [](Array x, Array, Array z) { kernels::dropout<float>(x, 0.1, Rng(1), z); });
}
void mse(benchmark::State& s) {
  const Array losses({8});
  run(s, 8, 3, [&](Array x, Array y, Array) { kernels::mse_forward<float>(x, y, losses); });
}
void mse_backward(benchmark::State& s) {
  const Array dlosses({8}, 1.0F);
  run(s, 12, 2,
      [&](Array x, Array y, Array z) { kernels::mse_backward<float>(dlosses, x, y, z, {}); });
}

const Shape half{8, 16, 16, 128}, twice{8, 64, 64, 128}, wide{8, 32, 32, 256};

void max_pool2d(benchmark::State& s) {
  const Array y(half);
  run(s, 5, 1, [&](Array x, Array, Array) { kernels::max_pool2d_forward<float>(x, 2, y); });
}
void max_pool2d_backward(benchmark::State& s) {
  const Array y(half, 0.5F), dy(half, 1.0F);
  run(s, 10, 1,
      [&](Array x, Array, Array z) { kernels::max_pool2d_backward<float>(dy, x, y, 2, z); });
}
void avg_pool2d(benchmark::State& s) {
  const Array y(half);
  run(s, 5, 1, [&](Array x, Array, Array) { kernels::avg_pool2d_forward<float>(x, 2, y); });
}
void avg_pool2d_backward(benchmark::State& s) {
  const Array dy(half, 1.0F);
  run(s, 5, 1, [&](Array, Array, Array z) { kernels::avg_pool2d_backward<float>(dy, 2, z); });
}
void upsample(benchmark::State& s) {
  const Array y(twice);
  run(s, 20, 1, [&](Array x, Array, Array) { kernels::upsample_nearest_forward<float>(x, y); });
}
void upsample_backward(benchmark::State& s) {
  const Array dy(twice, 1.0F);
  run(s, 20, 4, [&](Array, Array, Array z) { kernels::upsample_nearest_backward<float>(dy, z); });
}
void concat(benchmark::State& s) {
  const Array y(wide);
  run(s, 16, 1, [&](Array a, Array b, Array) { kernels::concat_forward<float>(a, b, y); });
}
void concat_backward(benchmark::State& s) {
  const Array dy(wide, 1.0F);
  run(s, 16, 1, [&](Array, Array b, Array z) { kernels::concat_backward<float>(dy, 128, b, z); });
}

void time_embedding(benchmark::State& state) {
  const std::vector<double> t(128, 500);
  const Array e({128, 128});
  for (auto _ : state) kernels::time_embedding<float>(t, e);
  bench::report_bytes(state, 4.0 * double(e.size()));
}

BENCHMARK(silu)->UseRealTime();
BENCHMARK(silu_backward)->UseRealTime();
BENCHMARK(gelu)->UseRealTime();
BENCHMARK(gelu_backward)->UseRealTime();
BENCHMARK(add)->UseRealTime();
BENCHMARK(softmax)->UseRealTime();
BENCHMARK(softmax_backward)->UseRealTime();
BENCHMARK(dropout)->UseRealTime();
BENCHMARK(mse)->UseRealTime();
BENCHMARK(mse_backward)->UseRealTime();
BENCHMARK(max_pool2d)->UseRealTime();
BENCHMARK(max_pool2d_backward)->UseRealTime();
BENCHMARK(avg_pool2d)->UseRealTime();
BENCHMARK(avg_pool2d_backward)->UseRealTime();
BENCHMARK(upsample)->UseRealTime();
BENCHMARK(upsample_backward)->UseRealTime();
BENCHMARK(concat)->UseRealTime();
BENCHMARK(concat_backward)->UseRealTime();
BENCHMARK(time_embedding)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
