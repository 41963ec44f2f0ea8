// The terms of the variational bound, and rows of a table: far from the peak, but a small share of
// a training step. Values a second.
#include "ddpm/kernels/variational.hpp"

#include "../peak.hpp"
#include "ddpm/kernels/embedding.hpp"

namespace {

using namespace ddpm;

/// A batch of 128 CIFAR-10 images; the argument is 1 for a learned variance.
struct Fixture {
  kernels::VariationalOptions options;
  Tensor<float> x_0{{128, 32, 32, 3}, 0.2F}, x_t{x_0.shape(), 0.5F}, terms{{128}, 1.0F},
      errors{{128}};
  Tensor<float> output, doutput;
  std::vector<kernels::VariationalStep> steps;

  explicit Fixture(bool learned)
      : options{.learned_variance = learned},
        output({128, 32, 32, learned ? 6 : 3}, 0.1F),
        doutput(output.shape()),
        steps(128, {-0.5, 1.1, 0.4, 0.6, -3, learned ? 0.5 : 0.0, -3.1, false}) {
    steps[0].decoder = true;
  }
};

void variational(benchmark::State& state) {
  const Fixture f(state.range(0) == 1);
  for (auto _ : state)
    kernels::variational_forward<float>(f.output, f.x_0, f.x_t, f.steps, f.options, f.terms,
                                        f.errors);
  bench::report_bytes(state, 4.0 * double(f.x_0.size() * 2 + f.output.size()));
}
void variational_backward(benchmark::State& state) {
  const Fixture f(state.range(0) == 1);
  for (auto _ : state)
    kernels::variational_backward<float>(f.terms, f.output, f.x_0, f.x_t, f.steps, f.options,
                                         f.doutput);
  bench::report_bytes(state, 4.0 * double(f.x_0.size() * 2 + f.output.size() * 2));
}

/// A batch of 128 labels of 10 classes, for a time embedding of 512 channels.
void embedding(benchmark::State& state) {
  const Tensor<float> table({11, 512}, 0.5F), y({128, 512});
  std::vector<Index> rows;
  for (Index n = 0; n < 128; ++n) rows.push_back(n * 7 % 11);
  for (auto _ : state) kernels::embedding_forward<float>(table, rows, y);
  bench::report_bytes(state, 8.0 * double(y.size()));
}
void embedding_backward(benchmark::State& state) {
  const Tensor<float> dtable({11, 512}), dy({128, 512}, 0.5F);
  std::vector<Index> rows;
  for (Index n = 0; n < 128; ++n) rows.push_back(n * 7 % 11);
  for (auto _ : state) kernels::embedding_backward<float>(dy, rows, dtable);
  bench::report_bytes(state, 12.0 * double(dy.size()));
}

BENCHMARK(variational)->Arg(0)->Arg(1)->UseRealTime();
BENCHMARK(variational_backward)->Arg(0)->Arg(1)->UseRealTime();
BENCHMARK(embedding)->UseRealTime();
BENCHMARK(embedding_backward)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
