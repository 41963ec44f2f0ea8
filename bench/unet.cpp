// Whole networks: train_step (forward, mean squared error, backward, Adam) and denoise_step
// (forward without gradients, also of a batch of 64) of the three presets, as
// PRESET/batch:N/threads:N.
#include <benchmark/benchmark.h>

#include <ddpm/ddpm.hpp>
#include <functional>

#include "peak.hpp"

namespace {

using namespace ddpm;

/// One preset: its network, made when it is first asked for, and what a forward pass costs.
struct Preset {
  std::string name;
  Index batch;
  double flop;  ///< of one image's forward pass, convolutions and linear layers
  std::function<void(benchmark::State&, Index batch, bool training)> run;
};

template <class Network>
void run_network(benchmark::State& state, const typename Network::Config& config, Index batch,
                 bool training) {
  const Network network(config, Rng(1));
  const Shape shape{batch, 32, 32, config.image_channels};
  Tensor<float> x(shape), noise(shape);
  Rng rng(2);
  fill_normal<float>(x, rng);
  fill_normal<float>(noise, rng);
  std::vector<Index> t;
  for (Index n = 0; n < batch; ++n) t.push_back(rng.below(1000));
  optim::Adam<float> adam(nn::parameters<float>(network));
  const auto train = [&] {
    adam.zero_grad();
    mse_loss(network(Variable<float>(x), t, &rng), Variable<float>(noise)).backward();
    adam.step(2e-4);
  };
  const auto denoise = [&] {
    const NoGrad no_grad;
    benchmark::DoNotOptimize(network(Variable<float>(x), t).value().data());
  };
  const auto step = [&] { training ? train() : denoise(); };
  for (int warm_up = 0; warm_up < 3; ++warm_up) step();
  for (auto _ : state) step();
}

void add_benchmarks(const Preset& preset, Index batch, int threads) {
  for (const bool training : {true, false}) {
    if (training && batch > 32) continue;
    const std::string name = message(training ? "train_step/" : "denoise_step/", preset.name,
                                     "/batch:", batch, "/threads:", threads);
    const auto body = [=](benchmark::State& state) {
      set_num_threads(threads);
      preset.run(state, batch, training);
      bench::report(state, preset.flop * double(batch) * (training ? 3 : 1));
    };
    benchmark::RegisterBenchmark(name.c_str(), body)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond)
        ->Iterations(5);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<Preset> presets{
      {"ho2020_cifar10", 8, 96.86e9 / 8,
       [](auto& state, Index batch, bool training) {
         run_network<UNet<float>>(state, UNetConfig::ho2020_cifar10(), batch, training);
       }},
      {"mnist_small", 32, 24.13e9 / 32,
       [](auto& state, Index batch, bool training) {
         run_network<UNet<float>>(state, UNetConfig::mnist_small(), batch, training);
       }},
      {"tutorial", 32, 17.32e9 / 32, [](auto& state, Index batch, bool training) {
         run_network<TutorialUNet<float>>(state, TutorialUNetConfig::tutorial(), batch, training);
       }}};
  for (const Preset& preset : presets)
    for (const int threads : {1, 2}) {
      add_benchmarks(preset, preset.batch, threads);
      add_benchmarks(preset, 1, threads);
      add_benchmarks(preset, 64, threads);
    }
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
