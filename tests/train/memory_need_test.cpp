#include "ddpm/train/memory_need.hpp"

#include "fixture.hpp"

using namespace test;

namespace {

/// What is said of the memory of a step, and what fit() then takes beside what the trainer held.
struct SaidAndHeld {
  double said, held;
};
SaidAndHeld step_memory(const UNetConfig& config, TrainerOptions options, const Shape& image) {
  const UNet<float> net(config, Rng(1));
  Trainer<float> trainer(net, Scheduler<float>(), options);
  data::LabelledImages<float> set{Tensor<float>({3, image[0], image[1], image[2]}, 0.5F), {}};
  if (config.image.classes > 0) set.labels.assign(3, 0);
  memory::trim();
  const auto before = memory::statistics().bytes_touched;
  const MemoryNeed need = trainer.memory_need(image);
  trainer.fit(set);
  return {double(need.step), double(memory::statistics().bytes_touched - before)};
}

}  // namespace

TEST_CASE("memory [MB-1]: what a step takes is known before, within 15 %") {
  Rng rng(1);
  step_memory(small, quiet(20), {32, 32, 1});  // the threads get room to work in
  for (int round = 0; round < 16; ++round) {
    UNetConfig config = small;
    config.channels = 8 * (1 + rng.below(3));
    config.multipliers.assign(std::size_t(1 + rng.below(3)), 1);
    config.multipliers.back() = static_cast<double>(1 + rng.below(3));
    config.attention_levels = {};
    if (rng.below(2) == 1) config.attention_levels = {0};
    config.image.channels = 1 + rng.below(3);
    config.image.classes = rng.below(2);
    TrainerOptions options = quiet(3);
    options.batch_size = 1 + rng.below(20);
    options.accumulation = 1 + rng.below(8);
    const Index side = 8 * (1 + rng.below(4));
    CAPTURE(config.channels);
    CAPTURE(options.batch_size);
    CAPTURE(side);
    const auto [said, held] = step_memory(config, options, {side, side, config.image.channels});
    constexpr double least =
        1e6;  // a batch, lists, and what a first task takes until its arena has grown
    CHECK(std::abs(said - held) < std::max(0.15 * held, least));
  }
}

TEST_CASE("memory: asking for it changes nothing in the training") {
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  TrainerOptions options = quiet(4);
  options.timestep_sampling = TimestepSampling::loss_second_moment;
  const Scheduler<float> scheduler({.timesteps = 2});
  Tensor<float> weights[2];
  for (const bool asked : {false, true}) {
    const UNet<float> net(small, Rng(1));
    Trainer<float> trainer(net, scheduler, options);
    for (int times = 0; times < 2; ++times) {
      if (asked) CHECK(trainer.memory_need({8, 8, 1}).step > 0);
      trainer.fit(images);
    }
    weights[asked] = net.conv_out.weight.value().clone();
  }
  CHECK(same_bits(weights[0], weights[1]));
}

TEST_CASE("memory [MB-1]: a limit is told before anything is done, with needed and allowed") {
  const UNet<float> net(small, Rng(1));
  const auto images = random_tensor<float>({6, 8, 8, 1}, 1);
  TrainerOptions options = quiet(2);
  options.memory_limit = 1'000'000;
  Trainer<float> trainer(net, Scheduler<float>(), options);
  const std::string text = error_of<PreconditionError>([&] { trainer.fit(images); });
  CHECK(contains(text, "allowed are 1 MB"));
  CHECK(contains(text, "Trainer::fit: the memory needed is "));
  CHECK(trainer.steps() == 0);
// Sanitizers end the process where memory is refused.
#if !defined(DDPM_ASAN) && !defined(__SANITIZE_THREAD__)
  options.batch_size = Index{1} << 40;  // more than any system has
  Trainer<float> larger(net, Scheduler<float>(), options);
  CHECK(contains(error_of<PreconditionError>([&] { larger.fit(images); }),
                 "more than the system has, allowed are 1 MB"));
#endif
  options.batch_size = 4;
  options.memory_limit = std::size_t{1} << 40;
  Trainer<float>(net, Scheduler<float>(), options).fit(images);

  // Copies for saving count.
  const auto saving = [&](const std::string& folder, NonFinite policy) {
    options.save.folder = folder;
    options.non_finite = policy;
    const MemoryNeed need = Trainer<float>(net, Scheduler<float>(), options).memory_need({8, 8, 1});
    CHECK(need.model == 16 * std::size_t(nn::parameter_count<float>(net)));
    CHECK(need.total() == need.model + need.step + need.saving);
    return need.saving / need.model;
  };
  CHECK(saving("", NonFinite::skip) == 0);
  CHECK(saving("somewhere", NonFinite::fail) == 1);
  CHECK(saving("somewhere", NonFinite::reload) == 2);
  CHECK(contains(error_of<PreconditionError>([&] {
                   trainer.memory_need({8, 8, 3});
                 }),
                 "expects (H, W, 1)"));
  CHECK(bytes_text(999) == "0.000999 MB");
  CHECK(bytes_text(1'250'000'000) == "1.25 GB");
}
