// How the cost of a step grows with image size, batch and channels, from ho2020_cifar10 with half
// its channels on 8 images of 32 x 32; and the paper's network for 256 x 256 at batch 1.
#include "network.hpp"

namespace {

using namespace ddpm;
using bench::Step;

void add(const std::string& name, const UNetConfig& config, Index batch) {
  for (const Step step : {Step::train, Step::denoise})
    bench::register_step((step == Step::train ? "train_step/" : "denoise_step/") + name,
                         [=](benchmark::State& state) {
                           memory::trim();
                           bench::run_network<UNet<float>>(state, config, batch, step);
                         });
}

UNetConfig base(Index channels, Index size) {
  UNetConfig config = UNetConfig::ho2020_cifar10();
  config.channels = channels;
  config.image.height = config.image.width = size;
  return config;
}

}  // namespace

int main(int count, char** arguments) {
  for (const Index size : {32, 64, 128}) add(message("image:", size), base(64, size), 8);
  for (const Index batch : {1, 2, 4, 8, 16, 32, 64, 128})
    add(message("batch:", batch), base(64, 32), batch);
  for (const Index channels : {32, 64, 128, 256})
    add(message("channels:", channels), base(channels, 32), 8);
  add("ho2020_256", UNetConfig::ho2020_256(), 1);
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
