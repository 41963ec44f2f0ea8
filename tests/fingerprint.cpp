// Prints a hash of every bit that the library makes, so that a change that should change no result
// can show it: gradients and weights of two training steps of each preset, in float and double, and
// the samples of every sampler. Run it before and after, on one machine and one compiler.
#include <cstdio>
#include <ddpm/ddpm.hpp>
#include <string>

namespace {

using namespace ddpm;

/// FNV-1a, 64 bits.
class Hash {
 public:
  template <class T>
  void add(const Tensor<T>& tensor) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(tensor.data());
    const std::size_t size = static_cast<std::size_t>(tensor.size()) * sizeof(T);
    for (std::size_t i = 0; i < size; ++i) value_ = (value_ ^ bytes[i]) * 0x100000001b3U;
  }
  void print(const std::string& what) const {
    std::printf("%-36s %016llx\n", what.c_str(), static_cast<unsigned long long>(value_));
  }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

template <class T>
Tensor<T> images_of(const Shape& shape) {
  Tensor<T> images(shape);
  Rng rng(7);
  fill_uniform<T>(images, -1, 1, rng);
  return images;
}

template <class T, class Network>
void hash_training(const std::string& name, const Network& network, Index size) {
  const Scheduler<T> scheduler;
  const Tensor<T> images = images_of<T>({3, size, size, network.sample_shape(1)[3]});
  const Tensor<T> noise(images.shape());
  Rng rng(3), dropout(4);
  fill_normal<T>(noise, rng);
  const std::array<Index, 3> t{3, 500, 998};
  const auto losses = training_losses(network, scheduler, images, noise, t, {}, &dropout);
  losses.backward(Tensor<T>({3}, T(1)));
  Hash gradients, weights;
  gradients.add(losses.value());
  for (const auto& parameter : nn::parameters<T>(network)) gradients.add(parameter.grad());
  gradients.print(name + " gradients");
  TrainerOptions options;
  options.batch_size = 2;
  options.steps = 2;
  options.progress = Progress::silent;
  Trainer<T, Network> trainer(network, scheduler, options);
  trainer.fit(images);
  for (const auto& parameter : nn::parameters<T>(network)) weights.add(parameter.value());
  for (const auto& parameter : nn::parameters<T>(trainer.ema_model()))
    weights.add(parameter.value());
  weights.print(name + " weights");
}

template <class T>
void hash_samples(const std::string& type) {
  UNetConfig config = UNetConfig::tiny();
  config.image.learn_variance = true;
  const UNet<T> plain(UNetConfig::tiny(), Rng(1)), learned(config, Rng(1));
  Rng rng(9);
  const auto scatter = [&](const UNet<T>& network) {  // the last layer starts at zero
    for (const auto& parameter : nn::parameters<T>(network)) fill_normal<T>(parameter.value(), rng);
  };
  scatter(plain);
  scatter(learned);
  for (std::size_t sampler = 0; sampler < enum_names<Sampler>.size(); ++sampler) {
    Hash hash;
    for (const Spacing spacing : {Spacing::trailing, Spacing::karras})
      for (const Prediction prediction : {Prediction::epsilon, Prediction::v}) {
        SampleOptions options;
        options.count = 2;
        options.steps = 6;
        options.sampler = static_cast<Sampler>(sampler);
        options.spacing = spacing;
        options.eta = options.sampler == Sampler::ddim ? 0.5 : 0;
        hash.add(sample(plain, Scheduler<T>({.prediction = prediction}), options));
      }
    hash.print("samples of sampler " + std::to_string(sampler) + " " + type);
  }
  Hash hash;
  SampleOptions options;
  options.count = 2;
  options.steps = 6;
  hash.add(sample(learned, Scheduler<T>({.variance = Variance::learned_range}), options));
  const Tensor<T> known = images_of<T>({2, 28, 28, 1}), mask(known.shape());
  for (Index i = 0; i < mask.size(); ++i) mask[i] = known[i] > 0 ? T(1) : T(0);
  hash.add(inpaint(plain, Scheduler<T>(), known, mask, {.steps = 12}));
  hash.print("learned variance, inpainting " + type);
}

template <class T>
void hash_all(const std::string& type) {
  hash_training<T>("tiny " + type, UNet<T>(UNetConfig::tiny(), Rng(1)), 28);
  hash_training<T>("mnist_small " + type, UNet<T>(UNetConfig::mnist_small(), Rng(1)), 28);
  hash_training<T>("tutorial " + type, TutorialUNet<T>(TutorialUNetConfig::tutorial(), Rng(1)), 32);
  hash_training<T>("ho2020_cifar10 " + type, UNet<T>(UNetConfig::ho2020_cifar10(), Rng(1)), 32);
  hash_samples<T>(type);
}

}  // namespace

int main() {
  hash_all<float>("float");
  hash_all<double>("double");
}
