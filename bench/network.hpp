// One training or denoising step of a network, as a benchmark.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <ddpm/ddpm.hpp>
#include <fstream>

#include "peak.hpp"

namespace bench {

enum class Step { train, denoise };

/// The highest resident size of this process so far, in MB; 0 where /proc does not tell.
inline double resident_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (double kilobytes = 0; word == "VmHWM:" && status >> kilobytes) return kilobytes / 1024;
  return 0;
}

/// Root mean square difference, over the standard deviation of `exact`.
inline double rms_error(const Tensor<float>& rounded, const Tensor<float>& exact) {
  double mean = 0, squares = 0, error = 0;
  for (const float value : exact) mean += double(value) / double(exact.size());
  for (Index i = 0; i < exact.size(); ++i) {
    squares += std::pow(double(exact[i]) - mean, 2);
    error += std::pow(double(rounded[i]) - double(exact[i]), 2);
  }
  return std::sqrt(error / squares);
}

/// Times steps on a batch of images of the configuration's size: forward, mean squared error,
/// backward and Adam; or forward without gradients. `peak_MB` is what arrays held at most,
/// `resident_MB` the process, `rms_error` that of the output against float32, on random weights of
/// which no layer is zero.
template <class Network>
void run_network(benchmark::State& state, const typename Network::Config& config, Index batch,
                 Step step) {
  const Network network(config, Rng(1));
  const Shape shape = network.sample_shape(batch);
  Tensor<float> x(shape), noise(shape);
  Rng rng(2);
  fill_normal<float>(x, rng);
  fill_normal<float>(noise, rng);
  std::vector<double> t;
  for (Index n = 0; n < batch; ++n) t.push_back(static_cast<double>(rng.below(1000)));
  optim::Adam<float> adam(step == Step::train ? nn::parameters<float>(network)
                                              : std::vector<Variable<float>>());
  const auto train = [&] {
    adam.zero_grad();
    mse_loss(network(Variable<float>(x), t, {}, &rng), Variable<float>(noise)).backward();
    adam.step(2e-4);
  };
  const auto denoise = [&] {
    const NoGrad no_grad;
    benchmark::DoNotOptimize(network(Variable<float>(x), t).value().data());
  };
  const auto run = [&] { step == Step::train ? train() : denoise(); };
  if (step == Step::denoise) {
    for (const auto& parameter : nn::parameters<float>(network))
      for (float& value : parameter.value()) value += 0.02F * float(rng.uniform() - 0.5);
    const NoGrad no_grad;
    const Tensor<float> rounded = network(Variable<float>(x), t).value();
    const PrecisionScope scope(Precision::float32);
    state.counters["rms_error"] = rms_error(rounded, network(Variable<float>(x), t).value());
  }
  const auto fixed = step == Step::denoise ? std::make_unique<FixedParameters>() : nullptr;
  memory::reset_peak();
  for (int warm_up = 0; warm_up < 3; ++warm_up) run();
  for (auto _ : state) run();
  state.counters["peak_MB"] = double(memory::statistics().peak_bytes_in_use) / 1e6;
  state.counters["resident_MB"] = resident_megabytes();
}

template <class Run>
void register_step(const std::string& name, const Run& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(5);
}

}  // namespace bench
