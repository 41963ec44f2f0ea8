#include <fstream>
#include <mutex>

#include "../train/fixture.hpp"
#include "ddpm/io/safetensors.hpp"
#include "thread_ranks.hpp"

using namespace test;
using ddpm_test::run_ranks;
using ddpm_test::ThreadRanks;

namespace {

data::LabelledImages<float> labelled(Index count) {
  std::vector<Index> labels;
  for (Index i = 0; i < count; ++i) labels.push_back(i % 3);
  auto images = random_tensor<float>({count, 6, 5, 1}, 3);
  for (float& pixel : images) pixel = std::tanh(pixel);
  return {images, labels};
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A run on so many ranks, 0: without a communicator, that begins with the state at `from`, if
/// there is one, and leaves `to`. What an aborted one said.
std::string train(Index ranks, const TrainerOptions& options, const std::filesystem::path& from,
                  const std::filesystem::path& to,
                  const std::function<void(Index, const TrainingStep&)>& on_step = {}) {
  const auto data = labelled(11);
  return run_ranks(std::max<Index>(ranks, 1), [&](ThreadRanks& rank) {
    UNetConfig config = small;
    config.image.classes = 3;
    const UNet<float> net(config, Rng(1));
    // Few timesteps where each must be seen ten times before losses count.
    const bool by_loss = options.timestep_sampling == TimestepSampling::loss_second_moment;
    const Scheduler<float> scheduler({.timesteps = by_loss ? 2 : 20});
    Trainer<float> trainer(net, scheduler, options);
    if (ranks > 0) trainer.distribute(rank);
    if (!from.empty()) trainer.resume(from);
    trainer.fit(data, [&](auto&, const TrainingStep& step) {
      if (on_step) on_step(rank.rank(), step);
    });
    if (rank.rank() == 0) trainer.save(to);
  });
}

TrainerOptions in_shards(Index shards, Index steps) {
  TrainerOptions options = quiet(steps);
  options.batch_size = 2;
  options.accumulation = shards;
  return options;
}

}  // namespace

TEST_CASE("trainer: ranks leave the run state of one process, byte for byte") {
  const TemporaryFolder folder;
  const auto one = folder.path / "one", many = folder.path / "many";
  for (const auto sampling : {TimestepSampling::uniform, TimestepSampling::stratified,
                              TimestepSampling::loss_second_moment})
    for (const Index shards : {8, 6}) {
      TrainerOptions options = in_shards(shards, 4);
      options.timestep_sampling = sampling;
      options.horizontal_flip = true;
      options.label_dropout = 0.3;
      REQUIRE(train(0, options, {}, one).empty());
      for (const Index ranks : {1, 2, 3, 4, 5, 8}) {
        if (ranks > shards) continue;
        CAPTURE(shards);
        CAPTURE(ranks);
        std::filesystem::remove(many);
        REQUIRE(train(ranks, options, {}, many).empty());
        CHECK(bytes_of(one) == bytes_of(many));
      }
    }
}

TEST_CASE("trainer: a run goes on with another number of ranks") {
  const TemporaryFolder folder;
  const auto whole = folder.path / "whole", half = folder.path / "half", end = folder.path / "end";
  auto options = in_shards(8, 5);
  options.timestep_sampling = TimestepSampling::loss_second_moment;
  REQUIRE(train(1, options, {}, whole).empty());
  options.steps = 2;
  REQUIRE(train(4, options, {}, half).empty());
  options.steps = 5;
  for (const Index ranks : {1, 2, 8}) {
    std::filesystem::remove(end);
    REQUIRE(train(ranks, options, half, end).empty());
    CHECK(bytes_of(whole) == bytes_of(end));
  }
}

TEST_CASE("trainer: ranks that are given up are asked nothing any more") {
  struct Gone : ThreadRanks {
    using ThreadRanks::ThreadRanks;
    void all_to_all(std::span<const std::byte>, std::span<std::byte>, std::size_t) { fail(); }
    void all_gather(std::span<const std::byte>, std::span<std::byte>, std::size_t) { fail(); }
    static void fail() { throw std::logic_error("a rank was asked"); }
  };
  ddpm_test::ThreadWorld two(2), one(1);
  Gone gone(two, 0), alone(one, 0);
  const UNet<float> net(small, Rng(1));
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), in_shards(2, 2));
  trainer.distribute(gone);
  CHECK_THROWS_AS(trainer.fit(random_tensor<float>({4, 6, 5, 1}, 3)), std::logic_error);
  trainer.distribute(alone);
  trainer.fit(random_tensor<float>({4, 6, 5, 1}, 3));
  CHECK(trainer.steps() == 2);
}

TEST_CASE("trainer: callbacks of all ranks get the same, and any rank may stop all") {
  const auto data = labelled(8);
  for (const Index stopping : {0, 1}) {
    CAPTURE(stopping);
    std::mutex mutex;
    std::vector<std::vector<double>> losses(2);
    std::vector<Index> made(2);
    std::vector<char> stopped(2);
    run_ranks(2, [&](ThreadRanks& rank) {
      UNetConfig config = small;
      config.image.classes = 3;
      const UNet<float> net(config, Rng(1));
      Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), in_shards(2, 50));
      trainer.distribute(rank);
      const auto number = static_cast<std::size_t>(rank.rank());
      trainer.fit(data, [&](auto& running, const TrainingStep& step) {
        const std::lock_guard lock(mutex);
        losses[number].push_back(step.loss + step.gradient_norm);
        if (rank.rank() == stopping && step.step == 3) running.stop();
      });
      made[number] = trainer.steps();
      stopped[number] = trainer.stopped() ? 1 : 0;
    });
    CHECK(made == std::vector<Index>{3, 3});
    CHECK(stopped == std::vector<char>{1, 1});
    CHECK(losses[0] == losses[1]);
  }
}

TEST_CASE("trainer: an error on one rank ends all of them, with its message") {
  for (const Index failing : {0, 1, 3}) {
    const auto said = train(4, in_shards(4, 5), {}, "never", [&](Index rank, const TrainingStep&) {
      if (rank == failing) throw IoError("the disk is full");
    });
    CHECK(said == message("rank ", failing, ": the disk is full"));
  }
}

TEST_CASE("trainer: what is not finite on one rank is left out on all") {
  const TemporaryFolder folder;
  auto data = labelled(64);
  data.images[30 * 5 * 7] = std::numeric_limits<float>::quiet_NaN();
  UNetConfig config = small;
  config.image.classes = 3;
  const auto run = [&](Index ranks, NonFinite non_finite, const std::filesystem::path& to) {
    return run_ranks(ranks, [&](ThreadRanks& rank) {
      const UNet<float> net(config, Rng(1));
      auto options = in_shards(4, 9);
      options.non_finite = non_finite;
      options.save = {.folder = to.string(), .minutes = 0, .steps = 2};
      Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), options);
      if (ranks > 1) trainer.distribute(rank);
      Index made = 0;
      trainer.fit(data, [&](auto&, const TrainingStep&) { ++made; });
      CHECK(trainer.skipped() >= 1);
      if (rank.rank() != 0) return;
      const auto states = run_states(to);
      const auto file = io::Safetensors::read(states.back());
      CHECK(file.metadata().at("run.drawn") == message(8 * (made + trainer.skipped())));
    });
  };
  for (const auto non_finite : {NonFinite::skip, NonFinite::reload}) {
    const auto to = [&](Index ranks) { return folder.path / message(name_of(non_finite), ranks); };
    for (const Index ranks : {1, 2, 4}) REQUIRE(run(ranks, non_finite, to(ranks)).empty());
    for (const Index ranks : {2, 4})
      CHECK(bytes_of(run_states(to(1)).back()) == bytes_of(run_states(to(ranks)).back()));
  }
  const auto said = run(2, NonFinite::fail, folder.path / "fail");
  CHECK(said.find("the loss of step") != std::string::npos);
}

TEST_CASE("trainer: a callback that throws anything ends all ranks") {
  struct Anything {};
  const auto data = labelled(8);
  UNetConfig config = small;
  config.image.classes = 3;
  const auto said = run_ranks(2, [&](ThreadRanks& rank) {
    const UNet<float> net(config, Rng(1));
    Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), in_shards(2, 5));
    trainer.distribute(rank);
    trainer.fit(data, [&](auto&, const TrainingStep&) {
      if (rank.rank() == 1) throw Anything();
    });
  });
  CHECK(said == "rank 1: something that is no std::exception was thrown");
}

TEST_CASE("trainer: a weight that is a constant stays as it is") {
  UNet<float> net(small, Rng(1));
  const auto before = net.conv_in.weight.value().clone();
  net.conv_in.weight = Variable<float>(before.clone());
  Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), quiet(3));
  trainer.fit(random_tensor<float>({4, 6, 5, 1}, 3));
  CHECK(trainer.steps() == 3);
  CHECK(same_bits(before, net.conv_in.weight.value()));
}

TEST_CASE("trainer: ranks that cannot make one run are told so") {
  const auto data = labelled(8);
  UNetConfig config = small;
  config.image.classes = 3;
  const auto fit = [&](Index ranks, auto&& seed, Index shards) {
    return run_ranks(ranks, [&](ThreadRanks& rank) {
      const UNet<float> net(config, Rng(seed(rank.rank())));
      Trainer<float> trainer(net, Scheduler<float>({.timesteps = 20}), in_shards(shards, 1));
      trainer.distribute(rank);
      trainer.fit(data);
    });
  };
  const auto said = fit(
      4, [](Index rank) { return rank == 2 ? 1U : 2U; }, 4);
  CHECK(said.find("rank 2 has other weights than rank 0") != std::string::npos);
  CHECK_THROWS_WITH_AS(fit(
                           3, [](Index) { return 1U; }, 2),
                       doctest::Contains("3 ranks share accumulation = 2 batches"),
                       PreconditionError);
}
