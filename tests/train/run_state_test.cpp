#include "ddpm/train/run_state.hpp"

#include <fstream>

#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/checkpoint.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

data::LabelledImages<float> labelled_images() {
  return {random_tensor<float>({10, 8, 8, 1}, 1), {0, 1, 2, 0, 1, 2, no_label, 1, 0, 2}};
}

/// A kind of run: everything that a run may keep from update to update.
struct Kind {
  const char* name;
  TrainerOptions options;
  bool labels = false;
  Variance variance = Variance::fixed_small;
};

std::vector<Kind> kinds() {
  TrainerOptions plain = quiet(12);
  plain.warmup_steps = 5;
  Kind flips{"flips, accumulation, cosine", plain};
  flips.options.horizontal_flip = true;
  flips.options.accumulation = 3;
  flips.options.decay = optim::Decay::cosine;
  Kind labels{"labels, stratified", plain, true};
  labels.options.label_dropout = 0.3;
  labels.options.timestep_sampling = TimestepSampling::stratified;
  Kind importance{"importance sampling, learned variance", plain, false, Variance::learned_range};
  importance.options.loss.loss = Loss::hybrid;
  importance.options.timestep_sampling = TimestepSampling::loss_second_moment;
  importance.options.batch_size = 10;  // so that every timestep has its history half-way
  importance.options.accumulation = 2;
  importance.options.adam.weight_decay = 0.01;
  Kind rounded{"bfloat16", plain};
  rounded.options.precision = Precision::bfloat16;
  return {{"plain", plain}, flips, labels, importance, rounded};
}

/// A trainer of a kind, with a network of its own.
struct Run {
  UNet<float> network;
  Scheduler<float> scheduler;
  Trainer<float> trainer;

  explicit Run(const Kind& kind, std::uint64_t seed = 1)
      : network(config(kind), Rng(seed)),
        scheduler({.timesteps = 8, .variance = kind.variance}),
        trainer(network, scheduler, kind.options) {}

  static UNetConfig config(const Kind& kind) {
    UNetConfig result = small;
    result.image.classes = kind.labels ? 3 : 0;
    result.image.learn_variance = is_learned(kind.variance);
    return result;
  }

  void fit(const Kind& kind, const Trainer<float>::OnStep& on_step = {}) {
    auto images = labelled_images();
    if (!kind.labels) images.labels.clear();
    trainer.fit(images, on_step);
  }
};

std::string resume_error(const Kind& kind, const std::filesystem::path& path) {
  Run run(kind, 9);
  return error_of<IoError>([&] { run.trainer.resume(path); });
}

}  // namespace

TEST_CASE("run state [RS-1]: a run that was stopped anywhere ends in the same bytes") {
  const TemporaryFolder folder;
  const auto whole = folder.path / "whole", part = folder.path / "part", end = folder.path / "end";
  for (const Kind& kind : kinds()) {
    Run uninterrupted(kind);
    uninterrupted.fit(kind);
    uninterrupted.trainer.save(whole);
    const auto expected = io::read_file(whole);
    for (const Index stop : {0, 1, 2, 5, 7, 11, 12}) {  // within and at the end of epochs
      CAPTURE(kind.name);
      CAPTURE(stop);
      Run first(kind);
      if (stop > 0)
        first.fit(kind, [&](auto& trainer, const TrainingStep& step) {
          if (step.step == stop) trainer.stop();
        });
      first.trainer.save(part);
      Run second(kind, 2);  // other weights, which the file replaces
      second.trainer.resume(part);
      CHECK(second.trainer.steps() == stop);
      second.fit(kind);
      second.trainer.save(end);
      CHECK(io::read_file(end) == expected);
    }
  }
}

TEST_CASE("run state [RS-1]: random runs, stopped at random places, end in the same bytes") {
  const TemporaryFolder folder;
  const auto whole = folder.path / "whole", part = folder.path / "part";
  Rng rng(7);
  for (int round = 0; round < 20; ++round) {
    const auto odd = [&] { return rng.below(2) == 1; };
    Kind kind{"random", quiet(2 + rng.below(20)), odd()};
    TrainerOptions& o = kind.options;
    o.batch_size = 1 + rng.below(7);
    o.accumulation = 1 + rng.below(3);
    o.warmup_steps = rng.below(8);
    if (odd()) o.decay = optim::Decay::cosine;
    o.horizontal_flip = odd();
    o.ema_warmup = odd();
    o.timestep_sampling =
        std::array{TimestepSampling::uniform, TimestepSampling::stratified,
                   TimestepSampling::loss_second_moment}[static_cast<std::size_t>(rng.below(3))];
    if (odd()) {
      kind.variance = Variance::learned;
      o.loss.loss = odd() ? Loss::hybrid : Loss::kl;
    }
    o.seed = static_cast<std::uint64_t>(rng.below(1000));
    Run uninterrupted(kind);
    uninterrupted.fit(kind);
    uninterrupted.trainer.save(whole);
    // Stopped twice on the way.
    Run(kind).trainer.save(part);
    const Index first = rng.below(o.steps + 1), second = first + rng.below(o.steps - first + 1);
    CAPTURE(o.steps);
    CAPTURE(first);
    CAPTURE(second);
    for (const Index stop : {first, second, o.steps}) {
      Run run(kind, 5);
      run.trainer.resume(part);
      if (stop > run.trainer.steps())
        run.fit(kind, [&](auto& trainer, const TrainingStep& step) {
          if (step.step == stop) trainer.stop();
        });
      run.trainer.save(part);
    }
    CHECK(io::read_file(part) == io::read_file(whole));
  }
}

TEST_CASE("run state [CK-9]: written without a copy, and nothing of the machine stands in it") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state";
  Kind kind = kinds()[0];
  kind.options.save = {.folder = (folder.path / "run").string(), .minutes = 0};
  Run run(kind);
  run.fit(kind);
  memory::trim();
  memory::reset_peak();
  const auto before = memory::statistics();
  run.trainer.save(path);
  CHECK(memory::statistics().peak_bytes_in_use < before.bytes_in_use + 1000);
  const auto bytes = io::read_file(path);
  const std::string text(bytes.begin(), bytes.end());
  CHECK_FALSE(contains(text, folder.path.string()));
  CHECK_FALSE(contains(text, "/home"));
  char host[256] = "";
  REQUIRE(::gethostname(host, sizeof host - 1) == 0);
  if (std::string(host).size() > 3) CHECK_FALSE(contains(text, host));
}

TEST_CASE("run state: stopped at every update, and saved from the callback") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state", whole = folder.path / "whole";
  const Kind kind = kinds()[3];
  Run uninterrupted(kind);
  uninterrupted.fit(kind);
  uninterrupted.trainer.save(whole);
  Run(kind).trainer.save(path);
  for (Index i = 0; i < 12; ++i) {
    Run run(kind, 5);
    run.trainer.resume(path);
    run.fit(kind, [&](auto& trainer, const TrainingStep&) {
      trainer.save(path);
      trainer.stop();
    });
  }
  CHECK(io::read_file(path) == io::read_file(whole));
}

TEST_CASE("run state: what further calls of fit() do is the same after a resume") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state", whole = folder.path / "whole";
  Kind kind = kinds()[1];
  Run uninterrupted(kind);
  uninterrupted.fit(kind);
  uninterrupted.trainer.save(path);
  uninterrupted.fit(kind);  // a second cosine
  uninterrupted.trainer.save(whole);
  CHECK(uninterrupted.trainer.steps() == 24);

  Run run(kind, 5);
  run.trainer.resume(path);
  run.fit(kind);  // the first had come to its end: nothing is left
  CHECK(run.trainer.steps() == 12);
  run.fit(kind);
  run.trainer.save(path);
  CHECK(io::read_file(path) == io::read_file(whole));

  // A run is made longer: the cosine is that of the new length.
  uninterrupted.trainer.save(path);
  kind.options.steps = 20;
  Run longer(kind, 5);
  longer.trainer.resume(path);
  double rate = -1;
  longer.fit(kind,
             [&](auto&, const TrainingStep& step) { rate = std::max(rate, step.learning_rate); });
  CHECK(longer.trainer.steps() == 32);
  CHECK(rate > 0);
  CHECK(rate < 1e-3);
}

TEST_CASE("run state [RS-2, RS-3]: another run's state is refused, with every difference") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state";
  const Kind kind = kinds()[0];
  Run run(kind);
  run.fit(kind);
  run.trainer.save(path);
  Kind other = kind;
  other.options.batch_size = 5;
  other.options.seed = 3;
  other.labels = true;
  other.options.steps = 99;  // may be another
  other.variance = Variance::fixed_large;
  const std::string text = resume_error(other, path);
  for (const char* line :
       {"trainer.batch_size: 4 in the file, 5 here", "trainer.seed: 0 in the file, 3 here",
        "network.classes: 0 in the file, 3 here",
        "scheduler.variance: fixed_small in the file, fixed_large here"})
    CHECK(contains(text, line));
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);

  Run again(kind);
  again.trainer.resume(path);
  auto images = labelled_images();
  images.labels.clear();
  images.images[5] += 0.5F;
  CHECK(contains(error_of<PreconditionError>([&] { again.trainer.fit(images); }),
                 "other data: 10 images of (8, 8, 1) without labels, contents"));
  images.images = random_tensor<float>({11, 10, 8, 1}, 1);
  const std::string data = error_of<PreconditionError>([&] { again.trainer.fit(images); });
  CHECK(contains(data, "these are 11 images of (10, 8, 1) without labels"));

  save_checkpoint(path, run.trainer.ema_model(), run.scheduler);
  CHECK(contains(resume_error(kind, path), "no run state"));
  CHECK_THROWS_AS(Run(kind).trainer.resume(folder.path / "none"), IoError);
}

TEST_CASE("run state: places that no run can be at are refused, and leave the trainer as it was") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state", changed = folder.path / "changed";
  const Kind kind = kinds()[0];
  Run run(kind);
  run.fit(kind);
  run.trainer.save(path);
  const auto file = io::Safetensors::read(path);
  for (const auto& change :
       std::vector<std::pair<std::string, std::string>>{{"run.steps", "-1"},
                                                        {"run.drawn", "-5"},
                                                        {"run.fit_start", "-1"},
                                                        {"run.fit_start", "13"},
                                                        {"run.steps", "x"}}) {
    std::vector<io::NamedTensor<float>> tensors;
    std::vector<io::StoredTensor> stored;
    for (const auto& name : file.names())
      if (name != "training.timesteps") tensors.push_back({name, file.tensor<float>(name)});
    for (const auto& tensor : tensors) stored.emplace_back(tensor.name, tensor.tensor);
    const auto timesteps = file.tensor<double>("training.timesteps");
    stored.emplace_back("training.timesteps", timesteps);
    auto metadata = file.metadata();
    metadata[change.first] = change.second;
    io::write_safetensors(changed, stored, metadata);
    Run other(kind, 4);
    const auto before = other.network.conv_in.weight.value().clone();
    CHECK_THROWS_AS(other.trainer.resume(changed), IoError);
    CHECK(same_bits(other.network.conv_in.weight.value(), before));
    CHECK(other.trainer.steps() == 0);
  }
}

TEST_CASE("run state: a file of the other number type is another run") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state";
  const UNet<double> net(small, Rng(1));
  Trainer<double> trainer(net, Scheduler<double>(), quiet(2));
  trainer.save(path);
  const UNet<float> single(small, Rng(1));
  Trainer<float> other(single, Scheduler<float>(), quiet(2));
  CHECK(contains(error_of<IoError>([&] { other.resume(path); }), "type: F64 in the file, F32"));
}

TEST_CASE("run state: it samples as the weights do, and a run that goes on can be sampled") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state", weights = folder.path / "weights";
  const Kind kind = kinds()[0];
  Run run(kind);
  run.fit(kind);
  run.trainer.save(path);
  save_checkpoint(weights, run.trainer.ema_model(), run.scheduler);
  const auto a = load_checkpoint<float, UNet<float>>(path),
             b = load_checkpoint<float, UNet<float>>(weights);
  CHECK(a.network.config.image.height == 8);
  CHECK(same_bits(sample(a.network, a.scheduler, {.count = 2}),
                  sample(b.network, b.scheduler, {.count = 2})));
  Run resumed(kind, 3);
  resumed.trainer.resume(path);
  CHECK(same_bits(sample(resumed.trainer.ema_model(), a.scheduler, {.count = 2}),
                  sample(a.network, a.scheduler, {.count = 2})));
}

TEST_CASE("run state [NU-1]: what is not finite is never saved over a good file") {
  const TemporaryFolder folder;
  const auto path = folder.path / "state";
  const Kind kind = kinds()[0];
  Run run(kind);
  run.trainer.save(path);
  const auto before = io::read_file(path);
  run.network.conv_in.bias.value()[1] = std::numeric_limits<float>::infinity();
  CHECK(contains(error_of<NonFiniteError>([&] { run.trainer.save(path); }),
                 "'training.weights.conv_in.bias' has the value inf"));
  CHECK(
      contains(error_of<NonFiniteError>([&] { save_checkpoint(path, run.network, run.scheduler); }),
               "'conv_in.bias'"));
  CHECK(io::read_file(path) == before);
}

TEST_CASE("run state [CK-6]: fit() writes states and keeps the newest") {
  const TemporaryFolder folder;
  const auto states = folder.path / "run";
  Kind kind = kinds()[0];
  kind.options.save = {.folder = states.string(), .minutes = 0, .steps = 5, .keep = 2};
  Run run(kind);
  run.fit(kind);
  CHECK(run_states(states) ==
        std::vector{states / "state-00000010.safetensors", states / "state-00000012.safetensors"});
  // The one on the way is that of a run which stopped there.
  kind.options.save.keep = 1;
  Run resumed(kind, 2);
  resumed.trainer.resume(run_states(states).front());
  resumed.fit(kind);
  CHECK(run_states(states) == std::vector{states / "state-00000012.safetensors"});
  Run(kind).trainer.resume(states / "state-00000012.safetensors");
  // A new run does not mix with an old one.
  Run other(kind);
  CHECK(
      contains(error_of<PreconditionError>([&] { other.fit(kind); }), "holds run states already"));
  std::ofstream(states / "state-x.safetensors") << "no state";
  std::ofstream(states / "state-7.safetensors.tmp") << "no state";
  CHECK(run_states(states).size() == 1);
  CHECK(run_states(folder.path / "nowhere").empty());
}

TEST_CASE("run state: states by the clock change nothing in the run") {
  const TemporaryFolder folder;
  Kind kind = kinds()[2];
  Run plain(kind);
  plain.fit(kind);
  plain.trainer.save(folder.path / "plain");
  kind.options.save = {.folder = folder.path.string(), .minutes = 1e-9};
  Run saved(kind);
  saved.fit(kind);
  CHECK(run_states(folder.path).size() == 2);
  CHECK(io::read_file(run_states(folder.path).back()) == io::read_file(folder.path / "plain"));
}

TEST_CASE("run state [CK-3]: a folder that takes no file costs no training, and the end tells it") {
  const TemporaryFolder folder;
  Kind kind = kinds()[0];
  kind.options.save = {.folder = (folder.path / "run").string(), .minutes = 0, .steps = 3};
  Run run(kind);
  Index made = 0;
  const auto on_step = [&](auto&, const TrainingStep& step) {
    made = step.step;
    if (step.step == 1) std::filesystem::remove_all(folder.path / "run");
  };
  CHECK(contains(error_of<IoError>([&] { run.fit(kind, on_step); }), "cannot create"));
  CHECK(made == 12);
  run.trainer.save(folder.path / "state");  // and it can still be saved elsewhere
  CHECK_NOTHROW(Run(kind).trainer.resume(folder.path / "state"));
}

TEST_CASE("run state: options out of range are named") {
  const UNet<float> net(small, Rng(1));
  const auto error = [&](const SaveOptions& save) {
    TrainerOptions options = quiet(1);
    options.save = save;
    return error_of<PreconditionError>([&] { Trainer<float>(net, Scheduler<float>(), options); });
  };
  CHECK(contains(error({.minutes = -1}), "minutes is -1"));
  CHECK(contains(error({.minutes = std::nan("")}), "minutes is nan"));
  CHECK(contains(error({.steps = -1}), "steps is -1"));
  CHECK(contains(error({.keep = 0}), "keep is 0"));
}
