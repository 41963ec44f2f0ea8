#include "ddpm/train/checkpoint.hpp"

#include "ddpm/diffusion/sample.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "fixture.hpp"

using namespace test;

TEST_CASE("checkpoint [RS-4]: network and scheduler come back") {
  const TemporaryFolder folder;
  const auto path = folder.path / "model.safetensors";
  const UNet<float> net(small, Rng(3));
  const Scheduler<float> scheduler(
      {.timesteps = 50, .variance = Variance::fixed_large, .clip_sample = false});
  save_checkpoint(path, net, scheduler);
  const auto loaded = load_checkpoint<float, UNet<float>>(path);
  CHECK(loaded.scheduler.timesteps() == 50);
  CHECK(loaded.scheduler.config().variance == Variance::fixed_large);
  CHECK_FALSE(loaded.scheduler.config().clip_sample);
  CHECK(loaded.network.config.multipliers == small.multipliers);
  CHECK(loaded.network.config.dropout == small.dropout);
  CHECK(same_bits(sample(net, scheduler, {.count = 1}),
                  sample(loaded.network, loaded.scheduler, {.count = 1})));
  // A double network takes float weights.
  CHECK(load_checkpoint<double, UNet<double>>(path).network.conv_in.weight.value()[0] ==
        double(net.conv_in.weight.value()[0]));
}

TEST_CASE("checkpoint: another network's file, and files that are none") {
  const TemporaryFolder folder;
  const auto path = folder.path / "model.safetensors";
  const UNet<float> net(small, Rng(3));
  save_checkpoint(path, net, Scheduler<float>());
  CHECK(contains(error_of<IoError>([&] { load_checkpoint<float, TutorialUNet<float>>(path); }),
                 "holds a UNet, expected a TutorialUNet"));
  UNetConfig wider = small;
  wider.channels = 16;
  wider.attention_levels = {};
  const UNet<float> other(wider, Rng(1));
  const auto before = other.conv_in.weight.value().clone();
  const auto file = io::Safetensors::read(path);
  const std::string text = error_of<IoError>([&] { load_weights<float>(file, "model", other); });
  CHECK(contains(text, "shape: conv_in.weight is (3, 3, 1, 8), expected (3, 3, 1, 16)"));
  CHECK(contains(text, "unknown: down.1.stages.0.attention.qkv.weight"));
  CHECK(same_bits(before, other.conv_in.weight.value()));

  io::write_safetensors<float>(path, {{"a", Tensor<float>({1}, 0.0F)}});
  CHECK(contains(error_of<IoError>([&] { load_checkpoint<float, UNet<float>>(path); }),
                 "names no network"));
  const auto error = [&](const io::Metadata& fields) {
    io::Metadata metadata = fields;
    metadata["network"] = "UNet";
    io::write_safetensors<float>(path, {}, metadata);
    return error_of<IoError>([&] { load_checkpoint<float, UNet<float>>(path); });
  };
  CHECK(contains(error({}), "has no 'network.image_channels'"));
  io::Metadata fields;
  write_config(small, "network", fields);
  write_config(SchedulerConfig(), "scheduler", fields);
  const auto with = [&](const char* key, const char* value) {
    io::Metadata changed = fields;
    changed[key] = value;
    return error(changed);
  };
  CHECK(contains(with("network.channels", "many"), "'network.channels' is 'many'"));
  CHECK(contains(with("network.flux", "1"), "'network.flux' is not known to this version"));
  // A field of later versions has its default: this file lacks only the weights. Others must be
  // there, or a file would be sampled with another process than it was trained with.
  for (const char* later : {"network.classes", "network.norm_eps", "network.cosine_first"})
    fields.erase(later);
  CHECK(contains(error(fields), "needs more than"));
  fields.erase("scheduler.scale_range");
  CHECK(contains(error(fields), "has no 'scheduler.scale_range'"));
}

TEST_CASE("checkpoint: a configuration larger than its file is refused before it is built") {
  const TemporaryFolder folder;
  const auto path = folder.path / "model.safetensors";
  const auto error = [&]<class Network>(const Network& network, const char* key,
                                        const char* value) {
    io::Metadata metadata = detail::model_metadata(network, Scheduler<float>());
    metadata[key] = value;
    std::vector<io::StoredTensor> tensors;
    const auto parameters = nn::named_parameters<float>(network);
    for (const auto& [name, parameter] : parameters) tensors.emplace_back(name, parameter.value());
    io::write_safetensors(path, tensors, metadata);
    memory::reset_peak();
    const auto before = memory::statistics().bytes_in_use;
    const auto text = error_of<IoError>([&] { load_checkpoint<float, Network>(path); });
    CHECK(memory::statistics().peak_bytes_in_use < before + 4 * std::filesystem::file_size(path));
    return text;
  };
  const UNet<float> net(small, Rng(1));
  for (const auto& change : std::vector<std::pair<const char*, const char*>>{
           {"network.channels", "20000"},
           {"network.channels", "9223372036854775807"},
           {"network.blocks", "10000000"},
           {"network.multipliers", "4611686018427387904,1"},
           {"network.classes", "1000000000"},
           {"network.image_channels", "4611686018427387904"}})
    CHECK(contains(error(net, change.first, change.second), "needs more than"));
  CHECK(contains(error(net, "network.blocks", "-1"), "blocks is -1"));
  CHECK(contains(error(net, "scheduler.timesteps", "4611686018427387904"), "timesteps"));
  TutorialUNetConfig config;
  config.levels = {8, 16};
  config.groups = 4;
  const TutorialUNet<float> tutorial(config, Rng(1));
  for (const char* levels : {"20000,20000", "9223372036854775807", "8,4611686018427387904"})
    CHECK(contains(error(tutorial, "network.levels", levels), "needs more than"));
}

TEST_CASE(
    "checkpoint: a network has more values than its configuration says that it has at least") {
  Rng rng(1);
  for (int round = 0; round < 60; ++round) {
    UNetConfig config = small;
    config.channels = 4 * (1 + rng.below(3));
    config.multipliers.assign(std::size_t(1 + rng.below(3)), 1);
    for (double& multiplier : config.multipliers)
      multiplier = static_cast<double>(1 + rng.below(4));
    config.blocks = 1 + rng.below(3);
    config.attention_levels = {};
    config.image.channels = 1 + rng.below(4);
    config.image.classes = rng.below(3);
    config.image.learn_variance = rng.below(2) == 1;
    const auto values = double(nn::parameter_count<float>(UNet<float>(config, Rng(1))));
    CHECK(config.fewest_values() < values);
    CHECK(config.fewest_values() > values / 8);
    TutorialUNetConfig other;
    other.image = config.image;
    other.levels.clear();
    for (const double multiplier : config.multipliers)
      other.levels.push_back(4 * static_cast<Index>(multiplier));
    other.attention_levels = {};
    other.groups = 4;
    const auto others = double(nn::parameter_count<float>(TutorialUNet<float>(other, Rng(1))));
    CHECK(other.fewest_values() < others);
    CHECK(other.fewest_values() > others / 8);
  }
  CHECK(UNetConfig::ho2020_256().fewest_values() < 113'673'219);
}
