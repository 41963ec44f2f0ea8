// What bfloat16 changes in the output of a trained network: bench_rounding CHECKPOINT FILE.
//
// The inputs are pictures that the network draws, with noise of as many strengths as there are
// pictures. Prints the difference between the two precisions, and writes inputs and outputs to
// FILE, from which rounding.py gives the same inputs to other engines.
#include <cstdio>

#include "network.hpp"

namespace {

using namespace ddpm;

/// The numbers as a row of floats.
Tensor<float> row(const std::vector<double>& values) {
  const Tensor<float> result({std::ssize(values)});
  std::transform(values.begin(), values.end(), result.begin(),
                 [](double value) { return static_cast<float>(value); });
  return result;
}

template <class Model>
void measure(const Model& model, const std::string& file) {
  const Shape own = model.network.sample_shape(1);
  const auto whole = [](Index size) { return (size + 7) / 8 * 8; };  // what PyTorch's network takes
  const SampleOptions options{.count = 16,
                              .seed = 1,
                              .height = whole(own[1]),
                              .width = whole(own[2]),
                              .sampler = Sampler::ddim,
                              .steps = 25};
  const Tensor<float> pictures = sample(model.network, model.scheduler, options);
  const Index N = pictures.dim(0), T = model.scheduler.timesteps();
  std::vector<Index> steps;
  for (Index n = 0; n < N; ++n) steps.push_back((2 * n + 1) * T / (2 * N));
  const std::vector<double> t(steps.begin(), steps.end());
  Tensor<float> noise(pictures.shape());
  Rng rng(2);
  fill_normal<float>(noise, rng);
  const Tensor<float> x = model.scheduler.add_noise(pictures, noise, steps);
  const auto output = [&](Precision precision) {
    const NoGrad no_grad;
    const PrecisionScope scope(precision);
    return model.network(Variable<float>(x), t).value();
  };
  const Tensor<float> y = output(Precision::float32), rounded = output(Precision::bfloat16);
  std::printf("root mean square difference over the standard deviation: %.3f %%\n",
              100 * bench::rms_error(rounded, y));
  const Tensor<float> times = row(t);
  io::write_safetensors(file, {{"x", x}, {"t", times}, {"y", y}, {"rounded", rounded}});
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: bench_rounding CHECKPOINT FILE\n");
    return 2;
  }
  try {
    const std::string path = arguments[1];
    const auto file = io::Safetensors::read(path);
    if (checkpoint_network(file, path) == TutorialUNet<float>::network_name)
      measure(load_checkpoint<float, TutorialUNet<float>>(file, path), arguments[2]);
    else
      measure(load_checkpoint<float, UNet<float>>(file, path), arguments[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_rounding: %s\n", error.what());
    return 1;
  }
}
