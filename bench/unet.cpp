// Whole networks: train_step (forward, mean squared error, backward, Adam) and denoise_step
// (forward without gradients, also of a batch of 64) of the three presets on images of 32 x 32, as
// PRESET/batch:N/threads:N, and with /bfloat16 at that precision.
#include <functional>

#include "network.hpp"

namespace {

using namespace ddpm;
using bench::Step;

struct Preset {
  std::string name;
  Index batch;
  double flop;  ///< of one image's forward pass, convolutions and linear layers
  std::function<void(benchmark::State&, Index batch, Step)> run;
};

void add_benchmarks(const Preset& preset, Index batch, int threads, Precision precision) {
  for (const Step step : {Step::train, Step::denoise}) {
    const bool training = step == Step::train;
    if (training && batch > preset.batch) continue;
    const std::string name =
        message(training ? "train_step/" : "denoise_step/", preset.name, "/batch:", batch,
                "/threads:", threads, precision == Precision::bfloat16 ? "/bfloat16" : "");
    bench::register_step(name, [=](benchmark::State& state) {
      set_num_threads(threads);
      const PrecisionScope scope(precision);
      preset.run(state, batch, step);
      bench::report(state, preset.flop * double(batch) * (training ? 3 : 1));
    });
  }
}

template <class Network>
Preset preset(const std::string& name, Index batch, double flop, typename Network::Config config) {
  config.image.height = config.image.width = 32;
  return {name, batch, flop / double(batch), [=](auto& state, Index images, Step step) {
            bench::run_network<Network>(state, config, images, step);
          }};
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<Preset> presets{
      preset<UNet<float>>("ho2020_cifar10", 8, 96.86e9, UNetConfig::ho2020_cifar10()),
      preset<UNet<float>>("mnist_small", 32, 24.13e9, UNetConfig::mnist_small()),
      preset<TutorialUNet<float>>("tutorial", 32, 17.32e9, TutorialUNetConfig::tutorial())};
  for (const Preset& p : presets)
    for (const int threads : {1, 2})
      for (const Index batch : {p.batch, Index{1}, Index{64}})
        for (const Precision precision : {Precision::float32, Precision::bfloat16})
          add_benchmarks(p, batch, threads, precision);
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
