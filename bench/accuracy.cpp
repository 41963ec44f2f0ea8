// How far training in float is from training in double: the same ten steps of a preset, from the
// same weights, with Winograd where it pays and with direct convolutions only.
//
//   bench_accuracy [PRESET]     tiny, mnist_small (default), tutorial or ho2020_cifar10
#include <cstdio>
#include <cstring>
#include <ddpm/ddpm.hpp>

namespace {

using namespace ddpm;

struct Trajectory {
  std::vector<double> losses, norms, weights;
};

/// Ten updates on eight images of noise.
template <class T, class Network>
Trajectory train(const Network& network, Index size) {
  const Index channels = network.sample_shape(1)[3];
  const Tensor<T> images({8, size, size, channels});
  Rng rng(5);
  for (T& pixel : images) pixel = static_cast<T>(static_cast<float>(rng.uniform() * 2 - 1));
  TrainerOptions options;
  options.batch_size = 8;
  options.steps = 10;
  options.progress = Progress::silent;
  Trainer<T, Network> trainer(network, Scheduler<T>(), options);
  Trajectory result;
  trainer.fit(images, [&](auto&, const TrainingStep& step) {
    result.losses.push_back(step.loss);
    result.norms.push_back(step.gradient_norm);
  });
  for (const auto& parameter : nn::parameters<T>(network))
    for (const T w : parameter.value()) result.weights.push_back(static_cast<double>(w));
  return result;
}

/// Moves every parameter a little, so that the layers that start at zero take part.
template <class Network>
void scatter(const Network& network) {
  Rng rng(6);
  for (const auto& parameter : nn::parameters<float>(network))
    for (float& w : parameter.value()) w += 0.05F * static_cast<float>(rng.normal());
}

/// Gives the parameters of one network the values of another's.
template <class To, class From, class A, class B>
void copy_weights(const A& to, const B& from) {
  const auto targets = nn::parameters<To>(to);
  const auto sources = nn::parameters<From>(from);
  for (std::size_t i = 0; i < targets.size(); ++i)
    std::transform(sources[i].value().begin(), sources[i].value().end(), targets[i].value().begin(),
                   [](From w) { return static_cast<To>(w); });
}

double largest_relative(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]) / std::abs(b[i]));
  return largest;
}

double rms_relative(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return std::sqrt(difference / size);
}

template <template <class> class Network, class Config>
void compare(const Config& config, Index size) {
  const auto run = [&]<class T>(T, ConvAlgorithm algorithm) {
    set_conv_algorithm(algorithm);
    const Network<float> start(config, Rng(1));
    scatter(start);
    const Network<T> network(config, Rng(1));
    copy_weights<T, float>(network, start);
    const Trajectory result = train<T>(network, size);
    set_conv_algorithm(ConvAlgorithm::automatic);
    return result;
  };
  const Trajectory truth = run(0.0, ConvAlgorithm::direct);
  std::printf("%-22s %-10s %-14s %s\n", "", "loss", "gradient norm", "weights");
  const auto report = [&](const char* what, const Trajectory& t) {
    std::printf("%-22s %-10.1e %-14.1e %.1e\n", what, largest_relative(t.losses, truth.losses),
                largest_relative(t.norms, truth.norms), rms_relative(t.weights, truth.weights));
  };
  report("float, automatic", run(0.0F, ConvAlgorithm::automatic));
  report("float, direct", run(0.0F, ConvAlgorithm::direct));
  report("double, automatic", run(0.0, ConvAlgorithm::automatic));
}

}  // namespace

int main(int count, char** arguments) {
  const std::string preset = count > 1 ? arguments[1] : "mnist_small";
  if (preset == "tiny")
    compare<UNet>(UNetConfig::tiny(), 28);
  else if (preset == "mnist_small")
    compare<UNet>(UNetConfig::mnist_small(), 28);
  else if (preset == "ho2020_cifar10")
    compare<UNet>(UNetConfig::ho2020_cifar10(), 32);
  else if (preset == "tutorial")
    compare<TutorialUNet>(TutorialUNetConfig::tutorial(), 32);
  else
    return std::fprintf(stderr, "no such preset: %s\n", preset.c_str()), 1;
}
