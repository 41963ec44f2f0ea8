#include "ddpm/train/checkpoint.hpp"

#include "ddpm/diffusion/sample.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "fixture.hpp"

using namespace test;

TEST_CASE("checkpoint: network and scheduler come back") {
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
  fields.erase("network.classes");
  CHECK(contains(error(fields), "missing: conv_in.weight (3, 3, 1, 8)"));
  fields.erase("scheduler.scale_range");
  CHECK(contains(error(fields), "has no 'scheduler.scale_range'"));
}
