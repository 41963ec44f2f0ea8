// Training and sampling in bfloat16.
//
// SPDX-License-Identifier: MIT
#include "ddpm/core/precision.hpp"

#include <numeric>

#include "ddpm/autograd/ops/attention.hpp"
#include "ddpm/diffusion/likelihood.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/train/checkpoint.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

constexpr Precision float32 = Precision::float32, bfloat16 = Precision::bfloat16;

/// Wide enough that every kind of layer has its own path: 3x3 of 32 channels and more, 1x1,
/// strided, narrow, linear, attention.
const UNetConfig wide{.image = {.channels = 3},
                      .channels = 32,
                      .multipliers = {1, 2},
                      .blocks = 1,
                      .attention_levels = {1},
                      .groups = 8};

Tensor<float> pictures(Index count) { return random_tensor<float>({count, 16, 16, 3}, 1); }

/// Losses and all weights, one after the other, of a short run.
struct Learned {
  std::vector<double> losses;
  std::vector<float> weights;

  friend bool operator==(const Learned&, const Learned&) = default;
};

Learned learn(Precision precision, Index steps = 3) {
  Learned result;
  auto options = quiet(steps);
  options.precision = precision;
  const UNet<float> net(wide, Rng(1));
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), options);
  trainer.fit(pictures(9),
              [&](auto&, const TrainingStep& step) { result.losses.push_back(step.loss); });
  for (const auto& parameter : nn::parameters<float>(trainer.model()))
    result.weights.insert(result.weights.end(), parameter.value().begin(), parameter.value().end());
  return result;
}

/// Root mean square difference, over the root mean square of b.
double rms_difference(const Tensor<float>& a, const Tensor<float>& b) {
  double squares = 0, all = 0;
  for (Index i = 0; i < a.size(); ++i) {
    squares += std::pow(double(a[i]) - double(b[i]), 2);
    all += std::pow(double(b[i]), 2);
  }
  return std::sqrt(squares / std::max(all, 1e-30));
}

/// A network none of whose layers starts at zero.
template <class Network>
Network stirred(const Network& network) {
  Rng rng(3);
  for (auto& parameter : nn::parameters<float>(network))
    for (float& value : parameter.value()) value += 0.05F * static_cast<float>(rng.uniform() - 0.5);
  return network;
}

/// A network's output and the gradients of all of its parameters.
template <class Network>
std::vector<Tensor<float>> output_and_gradients(Precision precision, const Network& network) {
  const PrecisionScope scope(precision);
  const Network net = nn::clone<float>(network);
  const double t[] = {3, 700};
  const Variable<float> y = net(Variable<float>(pictures(2)), t);
  y.backward(random_tensor<float>(y.shape(), 7));
  std::vector<Tensor<float>> result{y.value()};
  for (const auto& parameter : nn::parameters<float>(net)) result.push_back(parameter.grad());
  return result;
}

}  // namespace

TEST_CASE("precision [DT-1]: training in bfloat16 has the same bits at any number of threads") {
  set_num_threads(1);
  const Learned one = learn(bfloat16);
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    CHECK(one == learn(bfloat16));
  }
  set_num_threads(2);
}

TEST_CASE("precision: float32 is the default, and what an option says counts") {
  const Learned plain = learn(Precision{});
  CHECK(TrainerOptions{}.precision == float32);
  CHECK(SampleOptions{}.precision == float32);
  const PrecisionScope scope(bfloat16);
  CHECK(SampleOptions{}.precision == bfloat16);  // that of the thread
  CHECK(learn(float32) == plain);
}

TEST_CASE("precision: bfloat16 rounds, and learns the same") {
  const Learned exact = learn(float32, 20), rounded = learn(bfloat16, 20);
  CHECK(rounded.weights != exact.weights);
  const auto mean = [](const Learned& r) {
    return std::accumulate(r.losses.begin() + 10, r.losses.end(), 0.0) / 10;
  };
  CHECK(std::abs(mean(rounded) - mean(exact)) < 0.1 * mean(exact));
}

TEST_CASE("precision: a sample in bfloat16 does not depend on its batch") {
  const auto net = stirred(UNet<float>(wide, Rng(1)));
  const Scheduler<float> scheduler({.timesteps = 6});
  SampleOptions options{.count = 5, .seed = 3, .height = 16, .width = 16, .precision = bfloat16};
  const Tensor<float> together = sample(net, scheduler, options);
  options.batch_size = 2;
  CHECK(same_bits(together, sample(net, scheduler, options)));
  options.precision = float32;
  CHECK(!same_bits(together, sample(net, scheduler, options)));
}

TEST_CASE("precision: outputs and gradients of both networks are near those of float32") {
  const auto compare = [](const auto& network) {
    const auto exact = output_and_gradients(float32, network);
    const auto rounded = output_and_gradients(bfloat16, network);
    CHECK(rms_difference(rounded[0], exact[0]) < 0.03);
    double worst = 0;
    for (std::size_t i = 0; i < exact.size(); ++i)
      worst = std::max(worst, rms_difference(rounded[i], exact[i]));
    CHECK(worst < 0.2);
    CHECK(worst > 1e-4);
  };
  compare(stirred(UNet<float>(wide, Rng(1))));
  compare(stirred(
      TutorialUNet<float>({.image = {.channels = 3}, .levels = {32, 64}, .groups = 8}, Rng(1))));
}

TEST_CASE("precision: attention goes back at the precision that it went forward with") {
  const auto gradient = [](bool outside) {
    const auto qkv = Variable<float>::parameter(random_tensor<float>({1, 4, 4, 96}, 1));
    const auto dy = random_tensor<float>({1, 4, 4, 32}, 2);
    const auto forward = [&] {
      const PrecisionScope scope(bfloat16);
      return attention(qkv, 1);
    };
    const Variable<float> y = forward();
    const PrecisionScope scope(outside ? float32 : bfloat16);
    y.backward(dy);
    return qkv.grad();
  };
  CHECK(same_bits(gradient(true), gradient(false)));
}

TEST_CASE("precision: a bound on the likelihood takes it too") {
  const auto net = stirred(UNet<float>(wide, Rng(1)));
  const Scheduler<float> scheduler({.timesteps = 10});
  const double exact = likelihood(net, scheduler, pictures(2)).bits_per_dim();
  const double rounded =
      likelihood(net, scheduler, pictures(2), {.precision = bfloat16}).bits_per_dim();
  CHECK(rounded != exact);
  CHECK(std::abs(rounded - exact) < 0.01 * exact);
}

TEST_CASE("precision [RS-2]: it belongs to a run, and files from before have float32") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state";
  auto options = quiet(2);
  const UNet<float> net(small, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 6});
  Trainer<float> trainer(net, scheduler, options);
  trainer.fit(random_tensor<float>({4, 8, 8, 1}, 1));
  trainer.save(path);
  options.precision = bfloat16;
  Trainer<float> other(net, scheduler, options);
  CHECK(contains(error_of<IoError>([&] { other.resume(path); }),
                 "trainer.precision: float32 in the file, bfloat16 here"));

  auto file = io::Safetensors::read(path);
  io::Metadata metadata = file.metadata();
  CHECK(metadata.erase("trainer.precision") == 1);
  std::vector<io::NamedTensor<float>> tensors;
  std::vector<io::StoredTensor> stored;
  std::vector<Tensor<double>> doubles;
  for (const std::string& name : file.names()) {
    if (name == "training.timesteps") {
      doubles.push_back(file.tensor<double>(name));
      stored.emplace_back(name, doubles.back());
      continue;
    }
    tensors.push_back({name, file.tensor<float>(name)});
    stored.emplace_back(name, tensors.back().tensor);
  }
  io::write_safetensors(path, stored, metadata);
  options.precision = float32;
  Trainer<float> same(net, scheduler, options);
  const PrecisionScope scope(bfloat16);  // has no say in it
  same.resume(path);
  CHECK(same.steps() == 2);
}
