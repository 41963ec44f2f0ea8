#include <thread>

#include "ddpm/diffusion/sample.hpp"
#include "fixture.hpp"

using namespace test;

TEST_CASE("threads [TS-1]: many sample from one network, each its own pictures") {
  const UNet<float> net(small, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 20});
  const auto draw = [&](Index i) {
    SampleOptions options{.count = 2, .height = 8, .width = 8};
    options.seed = 5;
    options.first = 2 * i;
    options.sampler = Sampler::ddim;
    options.steps = 4;
    return sample(net, scheduler, options);
  };
  std::vector<Tensor<float>> expected, drawn(6);
  for (Index i = 0; i < 6; ++i) expected.push_back(draw(i));
  {
    std::vector<std::jthread> threads;
    for (Index i = 0; i < 6; ++i)
      threads.emplace_back([&, i] { drawn[static_cast<std::size_t>(i)] = draw(i); });
  }
  for (std::size_t i = 0; i < 6; ++i) CHECK(same_bits(drawn[i], expected[i]));
}

TEST_CASE("threads [TS-3]: two trainers at once do not disturb each other") {
  const auto train = [](std::uint64_t seed) {
    TrainerOptions options = quiet(6);
    options.seed = seed;
    const UNet<float> net(small, Rng(seed));
    Trainer<float> trainer(net, Scheduler<float>(), options);
    trainer.fit(random_tensor<float>({5, 8, 8, 1}, seed));
    return net.conv_out.weight.value();
  };
  const Tensor<float> expected[] = {train(1), train(2), train(3)};
  Tensor<float> trained[3];
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 3; ++i) threads.emplace_back([&, i] { trained[i] = train(i + 1); });
  }
  for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(trained[i], expected[i]));
}
