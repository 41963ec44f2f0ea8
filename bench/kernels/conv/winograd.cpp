// Winograd's blocking and the register tile, for those who tune them: each size is a template
// parameter, here beside the default. Forward passes of 8 images of 16 x 16, of one and of 32
// (whose tasks make their own U), and of one image's small maps; weight gradients; tiles on
// operands in the first-level cache.
#include "ddpm/kernels/conv/conv2d.hpp"

#include "../../peak.hpp"

namespace {

using namespace ddpm;
using kernels::winograd::Sizes;

struct Tiles64 : Sizes {
  static constexpr Index task_tiles = 64 / kernels::tile_rows * kernels::tile_rows;
};
struct Tiles192 : Sizes {
  static constexpr Index task_tiles = 192 / kernels::tile_rows * kernels::tile_rows;
};
struct Units32 : Sizes {
  static constexpr Index task_units = 32;
};
struct Units128 : Sizes {
  static constexpr Index task_units = 128;
};
struct Block1MB : Sizes {
  static constexpr Index block_bytes = Index{1} << 20;
};
struct Block16MB : Sizes {
  static constexpr Index block_bytes = Index{16} << 20;
};
struct Rows32 : Sizes {
  static constexpr Index task_rows = 32 / kernels::tile_rows * kernels::tile_rows;
};
struct Private2 : Sizes {
  static constexpr Index private_tiles = 2 * kernels::tile_rows;
};
struct Private8 : Sizes {
  static constexpr Index private_tiles = 8 * kernels::tile_rows;
};
struct NoFew : Sizes {
  static constexpr int few_tiles = 0;
};
struct NoPrivate : Sizes {
  static constexpr Index private_units = 0;
};
struct NoNarrow : Sizes {
  static constexpr Index narrow_weights = 0;
};
struct Ahead12 : Sizes {
  static constexpr Index filters_ahead = 12;
};

struct Layer {
  Tensor<float> x, w, y;
  kernels::Window window;
  double flop;

  explicit Layer(const benchmark::State& state)
      : x({state.range(0), state.range(2), state.range(2), state.range(1)}, 1.0F),
        w({3, 3, state.range(1), state.range(1)}, 1.0F),
        y(x.shape(), 1.0F),
        window(kernels::conv_window(x.shape(), w.shape(), {1, Padding::same(1)})),
        flop(2.0 * double(y.size() * w.size() / w.dim(3))) {}
};

template <class S, class U = float>
void forward(benchmark::State& state) {
  const Layer layer(state);
  const Index C = layer.w.dim(3);
  const auto filters = kernels::winograd::Filters<float>::plain(layer.w.data(), C, C);
  for (auto _ : state)
    kernels::winograd::convolve<U, S>(layer.window, layer.x, filters, C,
                                      {{}, nullptr, layer.y.data()});
  bench::report(state, layer.flop);
}

template <class S, class U = float>
void weight_gradient(benchmark::State& state) {
  const Layer layer(state);
  const Tensor<float> dw(layer.w.shape());
  for (auto _ : state)
    kernels::winograd::weight_gradient<U, S>(layer.window, layer.x, layer.y, dw.data());
  bench::report(state, layer.flop);
}

template <int Packs, int Rows>
void tile(benchmark::State& state) {
  constexpr Index terms = 64, width = kernels::panel_width<float, Packs>;
  const Tensor<float> rows({Rows, terms}, 1.0F), panel({terms, width}, 1.0F), sums({Rows, width});
  set_num_threads(1);
  for (auto _ : state) {
    kernels::Tile<float, Packs, Rows> tile;
    tile.clear();
    tile.add_rows(rows.data(), terms, terms, panel.data());
    tile.store(sums.data());
    benchmark::DoNotOptimize(sums.data());
    benchmark::ClobberMemory();
  }
  bench::report(state, 2.0 * double(Rows * terms * width));
  set_num_threads(detail::default_num_threads());
}

void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "C", "map"})->UseRealTime()->Args({8, 256, 16})->Args({1, 256, 16});
}

void many(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "C", "map"})->UseRealTime()->Args({32, 32, 16})->Args({32, 128, 16});
}

void few(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"N", "C", "map"})->UseRealTime()->Args({1, 256, 4})->Args({1, 256, 8});
}

BENCHMARK(forward<Sizes>)->Name("winograd/default")->Apply(layers);
BENCHMARK(forward<Tiles64>)->Name("winograd/task_tiles:64")->Apply(layers);
BENCHMARK(forward<Tiles192>)->Name("winograd/task_tiles:192")->Apply(layers);
BENCHMARK(forward<Units32>)->Name("winograd/task_units:32")->Apply(layers);
BENCHMARK(forward<Units128>)->Name("winograd/task_units:128")->Apply(layers);
BENCHMARK(forward<Block1MB>)->Name("winograd/block_bytes:1M")->Apply(layers);
BENCHMARK(forward<Block16MB>)->Name("winograd/block_bytes:16M")->Apply(layers);
BENCHMARK(forward<Ahead12>)->Name("winograd/filters_ahead:12")->Apply(layers);
BENCHMARK(forward<Sizes>)->Name("winograd_few/default")->Apply(few);
BENCHMARK(forward<NoFew>)->Name("winograd_few/few_tiles:0")->Apply(few);
BENCHMARK(forward<Sizes>)->Name("winograd_private/default")->Apply(many);
BENCHMARK(forward<Private2>)->Name("winograd_private/private_tiles:2")->Apply(many);
BENCHMARK(forward<Private8>)->Name("winograd_private/private_tiles:8")->Apply(many);
BENCHMARK(forward<NoPrivate>)->Name("winograd_private/private_units:0")->Apply(many);
BENCHMARK(forward<Sizes, Bfloat16Pair>)->Name("winograd_pairs/default")->Apply(layers)->Apply(many);
BENCHMARK(weight_gradient<Sizes, Bfloat16Pair>)
    ->Name("winograd_pairs_weights/default")
    ->Apply(layers)
    ->Apply(many);
BENCHMARK(weight_gradient<Sizes>)->Name("winograd_narrow/default")->Apply(many);
BENCHMARK(weight_gradient<NoNarrow>)->Name("winograd_narrow/narrow_weights:0")->Apply(many);
BENCHMARK(weight_gradient<Sizes>)->Name("winograd_weights/default")->Apply(layers);
BENCHMARK(weight_gradient<Rows32>)->Name("winograd_weights/task_rows:32")->Apply(layers);
BENCHMARK(weight_gradient<Block1MB>)->Name("winograd_weights/block_bytes:1M")->Apply(layers);
BENCHMARK(weight_gradient<Block16MB>)->Name("winograd_weights/block_bytes:16M")->Apply(layers);
BENCHMARK(tile<2, 4>)->Name("tile/packs:2/rows:4");
BENCHMARK(tile<2, 6>)->Name("tile/packs:2/rows:6");
BENCHMARK(tile<2, 8>)->Name("tile/packs:2/rows:8");
BENCHMARK(tile<2, 12>)->Name("tile/packs:2/rows:12");
BENCHMARK(tile<1, 8>)->Name("tile/packs:1/rows:8");
BENCHMARK(tile<3, 8>)->Name("tile/packs:3/rows:8");
BENCHMARK(tile<4, 6>)->Name("tile/packs:4/rows:6");

}  // namespace

BENCHMARK_MAIN();
