// Convolution: the layers of the three presets, forward and both gradients, as the library chooses
// and, where that is Winograd, directly; in bfloat16 as it chooses; the plain loops. roofline.py
// draws its JSON.
#include "ddpm/kernels/conv/conv2d.hpp"
#include "ddpm/core/random.hpp"

#include "../../../tests/reference/reference.hpp"
#include "../../peak.hpp"

namespace {

using namespace ddpm;
using kernels::Window;

ConvGeometry geometry_of(Index kernel, Index stride) {
  if (stride == 2) return {stride, Padding::right_and_bottom()};
  return {stride, Padding::same(kernel / 2)};
}

struct Layer {
  Tensor<float> x, w, y;
  ConvGeometry geometry;
  double flop;

  /// Speed, and operations for each byte of input, weights and output.
  /// Its label is the path that a pass takes.
  void report(benchmark::State& state, kernels::ConvPass pass) const {
    bench::report(state, flop);
    const Window window = kernels::conv_window(x.shape(), w.shape(), geometry);
    state.SetLabel(std::string(
        name_of(kernels::conv_path(pass, window, w.dim(2), w.dim(3), matmul_precision()))));
    state.counters["intensity"] = flop / (4.0 * double(x.size() + w.size() + y.size()));
  }

  explicit Layer(const benchmark::State& state)
      : x({state.range(0), state.range(1), state.range(1), state.range(2)}),
        w({state.range(4), state.range(4), state.range(2), state.range(3)}),
        geometry(geometry_of(state.range(4), state.range(5))) {
    y = Tensor<float>(kernels::conv2d_shape(x.shape(), w.shape(), geometry));
    Rng rng(1);  // tiles of equal values would need less power, and so less time
    for (const auto& tensor : {x, w, y}) fill_normal<float>(tensor, rng);
    flop = 2.0 * double(y.size() * w.size() / w.dim(3));
    set_conv_algorithm(state.range(6) ? ConvAlgorithm::direct : ConvAlgorithm::automatic);
  }
};

template <Precision precision>
void forward(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Layer layer(state);
  for (auto _ : state)
    kernels::conv2d_forward<float>(layer.x, layer.w, {}, {}, layer.geometry, layer.y);
  layer.report(state, kernels::ConvPass::forward);
}

template <Precision precision>
void data_gradient(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Layer layer(state);
  const Tensor<float> dx(layer.x.shape());
  for (auto _ : state)
    kernels::conv2d_backward<float>(layer.y, layer.x, layer.w, layer.geometry, dx, {}, {});
  layer.report(state, kernels::ConvPass::data_gradient);
}

template <Precision precision>
void weight_gradient(benchmark::State& state) {
  const PrecisionScope scope(precision);
  const Layer layer(state);
  const Tensor<float> dw(layer.w.shape());
  for (auto _ : state)
    kernels::conv2d_backward<float>(layer.y, layer.x, layer.w, layer.geometry, {}, dw, {});
  layer.report(state, kernels::ConvPass::weight_gradient);
}

void plain_loops(benchmark::State& state) {
  const Layer layer(state);
  const Tensor<float> bias({layer.w.dim(3)}, 0.0F);
  for (auto _ : state)
    benchmark::DoNotOptimize(
        reference::conv2d(layer.x, layer.w, bias, layer.geometry, layer.y.dim(1), layer.y.dim(2)));
  layer.report(state, kernels::ConvPass::forward);
}

template <bool both>
void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "HW", "in", "out", "kernel", "stride", "direct"})->UseRealTime();
  const std::vector<std::vector<Index>> all = {// ho2020_cifar10
                                               {8, 32, 3, 128, 3, 1},
                                               {8, 32, 128, 128, 3, 1},
                                               {8, 32, 384, 128, 3, 1},
                                               {8, 32, 128, 3, 3, 1},
                                               {8, 32, 128, 128, 3, 2},
                                               {8, 16, 256, 256, 3, 1},
                                               {8, 16, 512, 256, 3, 1},
                                               {8, 16, 256, 768, 1, 1},
                                               {8, 8, 256, 256, 3, 1},
                                               {8, 4, 256, 256, 3, 1},
                                               // mnist_small and tutorial
                                               {32, 32, 1, 32, 3, 1},
                                               {32, 32, 32, 32, 3, 1},
                                               {32, 32, 32, 1, 3, 1},
                                               {32, 32, 64, 64, 3, 1},
                                               {32, 16, 64, 64, 3, 1},
                                               {32, 8, 128, 128, 3, 1},
                                               {32, 4, 256, 256, 3, 1},
                                               // odd sizes
                                               {5, 7, 13, 17, 3, 1},
                                               {3, 28, 33, 65, 3, 1}};
  for (std::vector<Index> layer : all) {
    const Window window = kernels::conv_window({layer[0], layer[1], layer[1], layer[2]},
                                               {layer[4], layer[4], layer[2], layer[3]},
                                               geometry_of(layer[4], layer[5]));
    const bool winograd = kernels::winograd_pays(window, layer[2], layer[3]);
    for (const Index direct : {0, 1}) {
      if (both ? direct == 0 && !winograd : direct == 1) continue;  // the same
      std::vector<Index> arguments = layer;
      arguments.push_back(direct);
      benchmark->Args(arguments);
    }
  }
}

BENCHMARK(forward<Precision::float32>)->Name("conv2d")->Apply(layers<true>);
BENCHMARK(data_gradient<Precision::float32>)->Name("conv2d_data_gradient")->Apply(layers<true>);
BENCHMARK(weight_gradient<Precision::float32>)->Name("conv2d_weight_gradient")->Apply(layers<true>);
BENCHMARK(forward<Precision::bfloat16>)->Name("conv2d_bfloat16")->Apply(layers<false>);
BENCHMARK(data_gradient<Precision::bfloat16>)
    ->Name("conv2d_data_gradient_bfloat16")
    ->Apply(layers<false>);
BENCHMARK(weight_gradient<Precision::bfloat16>)
    ->Name("conv2d_weight_gradient_bfloat16")
    ->Apply(layers<false>);
BENCHMARK(plain_loops)
    ->Name("conv2d_plain_loops")
    ->ArgNames({"N", "HW", "in", "out", "kernel", "stride", "direct"})
    ->Args({1, 16, 64, 64, 3, 1, 1});

}  // namespace

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  bench::report_roofs();
  benchmark::RunSpecifiedBenchmarks();
}
