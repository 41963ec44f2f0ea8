// Networks that diffusers made (export_diffusers.py), and ours on the way there and back.
#include "ddpm/interop/diffusers.hpp"

#include "../support.hpp"
#include "ddpm/train/config_text.hpp"

using namespace test;

namespace {

const std::filesystem::path cases = DDPM_TEST_INTEROP;

const std::vector<std::string> names{"paper",    "defaults", "grey",      "four_channels",
                                     "classes",  "widths",   "early",     "two_layers",
                                     "bfloat16", "learned",  "tiny_ddpm", "ddim"};

double difference(const Tensor<float>& a, const Tensor<float>& b) {
  return relative_difference<float>(a, b);
}

std::vector<Index> labels_of(const io::Safetensors& file) {
  std::vector<Index> labels;
  if (file.contains("labels"))
    for (const double label : file.tensor<double>("labels"))
      labels.push_back(static_cast<Index>(label));
  return labels;
}

/// The last row of the last channel but for what stands before its lower right corner of 3 x 3.
std::vector<double> slice(const Tensor<float>& image) {
  std::vector<double> result;
  for (Index h = image.dim(1) - 3; h < image.dim(1); ++h)
    for (Index w = image.dim(2) - 3; w < image.dim(2); ++w) {
      const float value = image[(h * image.dim(2) + w + 1) * image.dim(3) - 1];
      result.push_back(std::clamp(double(value) / 2 + 0.5, 0.0, 1.0));
    }
  return result;
}

UNet<float> random_network(Rng& rng) {
  const auto one_of = [&](std::initializer_list<Index> values) {
    return *(values.begin() + rng.below(std::ssize(values)));
  };
  UNetConfig config{.image = {.channels = one_of({1, 3, 4}),
                              .height = 8 * one_of({1, 2}),
                              .width = 8 * one_of({1, 3}),
                              .classes = one_of({0, 1, 6}),
                              .learn_variance = one_of({0, 1}) == 1},
                    .channels = one_of({4, 8}),
                    .multipliers = {1},
                    .blocks = one_of({1, 2}),
                    .attention_levels = {},
                    .groups = one_of({1, 2, 4}),
                    .dropout = 0.25 * double(one_of({0, 1})),
                    .head_channels = one_of({0, 2, 4}),
                    .norm_eps = one_of({0, 1}) == 1 ? 1e-5 : 1e-6,
                    .symmetric_padding = one_of({0, 1}) == 1,
                    .time = {double(one_of({0, 1})), one_of({0, 1}) == 1}};
  while (config.multipliers.size() < std::size_t(one_of({1, 2, 3})))
    config.multipliers.push_back(double(one_of({1, 2, 3})));
  for (Index level = 0; level < std::ssize(config.multipliers); ++level)
    if (one_of({0, 1}) == 1) config.attention_levels.push_back(level);
  UNet<float> net(config, rng.fork());
  for (const auto& parameter : nn::parameters<float>(net))
    fill_normal<float>(parameter.value(), rng);
  return net;
}

std::map<std::string, std::string> text_of(const auto& config) {
  std::map<std::string, std::string> text;
  write_config(config, "c", text);
  return text;
}

}  // namespace

TEST_CASE("diffusers: its networks have its output here, and ten steps of its samplers its end") {
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto model = interop::load_diffusers<float>(cases / name);
    const auto expected = io::Safetensors::read(cases / name / "expected.safetensors");
    const auto labels = labels_of(expected);
    const auto t = expected.tensor<double>("t");
    const NoGrad no_grad;
    const auto y = model.network(Variable<float>(expected.tensor<float>("x")),
                                 std::vector<double>(t.begin(), t.end()), labels);
    CHECK(difference(y.value(), expected.tensor<float>("y")) < 1e-5);

    SampleOptions options = model.sampling;
    options.count = t.size();
    options.steps = 10;
    options.noise = NoiseKind::pytorch_batch;
    options.labels = labels;
    if (name != "learned" && name != "two_layers") options.sampler = Sampler::ddim_unclipped;
    const auto sampled = sample(model.network, model.scheduler, options);
    CHECK(difference(sampled, expected.tensor<float>("sample")) < 1e-3);
  }
}

TEST_CASE("diffusers: the published pictures of its pipelines' own tests") {
  const auto model = interop::load_diffusers<float>(cases / "tiny_ddpm");
  SampleOptions options = model.sampling;
  options.count = 1;
  options.steps = 2;
  options.noise = NoiseKind::pytorch;
  const auto compare = [&](const std::vector<double>& published) {
    const auto drawn = slice(sample(model.network, model.scheduler, options));
    for (std::size_t i = 0; i < 9; ++i) CHECK(std::abs(drawn[i] - published[i]) < 1e-4);
  };
  CHECK(options.sampler == Sampler::ancestral);
  compare({0.0, 0.9996672, 0.00329116, 1.0, 0.9995991, 1.0, 0.0060907, 0.00115037, 0.0});
  options.sampler = Sampler::ddim_unclipped;
  compare({0.0, 9.979e-01, 0.0, 9.999e-01, 9.986e-01, 9.991e-01, 7.106e-04, 0.0, 0.0});
}

TEST_CASE("diffusers: the code in the documents") {
  const TemporaryFolder place;
  const auto folder = cases / "paper", other_folder = place.path / "other";
  const auto model = interop::load_diffusers<float>(folder);
  const Tensor<float> pictures = sample(model.network, model.scheduler, {.count = 2, .steps = 10});
  interop::save_diffusers(other_folder, model.network, model.scheduler);
  CHECK(pictures.shape() == Shape{2, 8, 8, 3});
  CHECK(interop::is_diffusers_folder(other_folder));
}

TEST_CASE("diffusers: what a pipeline says of its sampler") {
  const auto ddim = interop::load_diffusers<float>(cases / "ddim");
  CHECK(ddim.sampling.sampler == Sampler::ddim_unclipped);
  CHECK(ddim.sampling.steps == 50);
  CHECK(interop::load_diffusers<float>(cases / "paper").sampling.steps == 1000);
  CHECK(interop::load_diffusers<float>(cases / "two_layers").sampling.steps == 200);
  CHECK(ddim.sampling.spacing == Spacing::leading);
  CHECK(interop::load_diffusers<float>(cases / "classes").sampling.spacing == Spacing::trailing);
  CHECK(interop::load_diffusers<float>(cases / "paper").scheduler.config().variance ==
        Variance::fixed_large);
  CHECK(interop::load_diffusers<float>(cases / "early").network.config.heads == 1);
}

TEST_CASE("diffusers: there and back, random networks keep every bit and setting") {
  Rng rng(3);
  for (int round = 0; round < 40; ++round) {
    const TemporaryFolder folder;
    const auto net = random_network(rng);
    SchedulerConfig process{.timesteps = 50 + rng.below(1000),
                            .schedule = static_cast<BetaSchedule>(rng.below(8)),
                            .zero_terminal_snr = rng.below(2) == 1,
                            .prediction = rng.below(2) == 1 ? Prediction::v : Prediction::x_0,
                            .clip_sample = rng.below(2) == 1,
                            .thresholding = rng.below(2) == 1};
    if (net.config.image.learn_variance) process.variance = Variance::learned_range;
    const Scheduler<float> scheduler(process);
    interop::save_diffusers(folder.path, net, scheduler);
    CHECK(interop::is_diffusers_folder(folder.path));
    const auto back = interop::load_diffusers<float>(folder.path);
    CHECK(text_of(back.network.config) == text_of(net.config));
    const auto mine = nn::parameters<float>(net), theirs = nn::parameters<float>(back.network);
    REQUIRE(mine.size() == theirs.size());
    for (std::size_t i = 0; i < mine.size(); ++i)
      CHECK(same_bits(mine[i].value(), theirs[i].value()));
    // The schedule may be listed now; the betas are the same.
    CAPTURE(name_of(process.schedule));
    REQUIRE(back.scheduler.timesteps() == scheduler.timesteps());
    CHECK(back.scheduler.betas() == scheduler.betas());
    CHECK(back.scheduler.config().prediction == process.prediction);
    CHECK(back.scheduler.config().variance == process.variance);
    CHECK(back.scheduler.config().clip_sample == process.clip_sample);
    CHECK(back.scheduler.config().thresholding == process.thresholding);
  }
}

TEST_CASE("diffusers: what it cannot express is not written") {
  const TemporaryFolder folder;
  const auto error = [&](UNetConfig config, const SchedulerConfig& process = {}) {
    config.channels = 8;
    config.groups = 4;
    return error_of<PreconditionError>([&] {
      interop::save_diffusers(folder.path, UNet<float>(config, Rng(1)), Scheduler<float>(process));
    });
  };
  CHECK(contains(error({.image = {.height = 28, .width = 28}}), "28 x 28 do not halve 3 times"));
  CHECK(contains(error({.multipliers = {2, 2}}), "the first level has 16 channels"));
  CHECK(contains(error({.multipliers = {1, 2}, .attention_levels = {0}, .heads = 2}),
                 "different widths have 2 heads"));
  CHECK(contains(
      error({.multipliers = {1}, .attention_levels = {}}, {.prediction = Prediction::x_prev}),
      "x_prev"));
  CHECK(std::filesystem::is_empty(folder.path));
  const std::string other = R"({"_class_name": "StableDiffusionPipeline"})";
  io::write_file(folder.path / "model_index.json", other.data(), other.size());
  CHECK(contains(error_of<IoError>([&] {
                   interop::save_diffusers(
                       folder.path,
                       UNet<float>({.multipliers = {1}, .attention_levels = {}}, Rng(1)),
                       Scheduler<float>());
                 }),
                 "is of StableDiffusionPipeline; give another folder"));
}

namespace {

using Json = interop::detail::Json;

/// A good folder, in which one file can be changed.
class Folder {
 public:
  const TemporaryFolder folder;

  explicit Folder(const char* name) {
    std::filesystem::copy(cases / name, folder.path, std::filesystem::copy_options::recursive);
  }

  Json read(const std::string& file) const {
    const auto bytes = io::read_file(folder.path / file);
    return Json::parse(bytes.begin(), bytes.end());
  }
  void write(const std::string& file, const std::string& text) const {
    io::write_file(folder.path / file, text.data(), text.size());
  }
  std::string error() const {
    return error_of<IoError>([&] { interop::load_diffusers<float>(folder.path); });
  }
  /// The error after a field got another value.
  std::string error_with(const std::string& file, const std::string& key, const Json& value) const {
    const Json before = read(file);
    Json after = before;
    after[key] = value;
    write(file, after.dump());
    const std::string text = error();
    write(file, before.dump());
    return text;
  }
  std::string error_without(const std::string& file, const std::string& key) const {
    const Json before = read(file);
    Json after = before;
    after.erase(key);
    write(file, after.dump());
    const std::string text = error();
    write(file, before.dump());
    return text;
  }
};

constexpr const char *unet_json = "unet/config.json",
                     *scheduler_json = "scheduler/scheduler_config.json",
                     *weights = "unet/diffusion_pytorch_model.safetensors";

}  // namespace

TEST_CASE("diffusers: every field that is out of range or not supported is named") {
  const Folder folder("defaults");
  const double huge = 1e300;
  const std::vector<std::pair<std::string, Json>> bad{
      {"_class_name", "UNet2DConditionModel"},
      {"in_channels", "3"},
      {"in_channels", -3},
      {"in_channels", 3.5},
      {"in_channels", nullptr},
      {"out_channels", 5},
      {"out_channels", 18446744073709551615U},
      {"sample_size", nullptr},
      {"sample_size", 0},
      {"sample_size", {8}},
      {"sample_size", {8, 8, 8}},
      {"sample_size", huge},
      {"block_out_channels", Json::array()},
      {"block_out_channels", 4},
      {"block_out_channels", {4, "8", 8}},
      {"block_out_channels", {4, 8, 1000000000000}},
      {"block_out_channels", {4, 8, -8}},
      {"block_out_channels", {0, 8, 8}},
      {"block_out_channels", {9223372036854775807, 8, 8}},
      {"down_block_types", {"DownBlock2D", "AttnDownBlock2D"}},
      {"down_block_types", {"DownBlock2D", "AttnDownBlock2D", "SkipDownBlock2D"}},
      {"down_block_types", {"DownBlock2D", "AttnDownBlock2D", 7}},
      {"up_block_types", "UpBlock2D"},
      {"up_block_types", {"AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"}},
      {"layers_per_block", 0},
      {"layers_per_block", true},
      {"layers_per_block", 1000000000},
      {"attention_head_dim", 0},
      {"attention_head_dim", "8"},
      {"norm_num_groups", nullptr},
      {"norm_eps", 0},
      {"norm_eps", "1e-5"},
      {"dropout", 1},
      {"downsample_padding", 2},
      {"freq_shift", -1},
      {"flip_sin_to_cos", 1},
      {"num_class_embeds", -1},
      {"class_embed_type", "timestep"},
      {"center_input_sample", true},
      {"time_embedding_type", "fourier"},
      {"time_embedding_dim", 17},
      {"mid_block_type", nullptr},
      {"mid_block_scale_factor", 1.41},
      {"downsample_type", "resnet"},
      {"upsample_type", "resnet"},
      {"act_fn", "mish"},
      {"attn_norm_num_groups", 2},
      {"resnet_time_scale_shift", "scale_shift"},
      {"add_attention", false},
      {"encoder_hid_dim", 16}};
  for (const auto& [key, value] : bad) {
    const std::string text = folder.error_with(unet_json, key, value);
    CAPTURE(text);
    CHECK(contains(text, "unet/config.json cannot be taken over:\n  " + key + " is "));
  }
  const std::vector<std::pair<std::string, Json>> bad_processes{
      {"_class_name", "EulerDiscreteScheduler"},
      {"num_train_timesteps", 0},
      {"num_train_timesteps", 1e9},
      {"num_train_timesteps", 1000000000},
      {"beta_start", 0},
      {"beta_end", "0.02"},
      {"beta_end", 2},
      {"beta_schedule", "laplace"},
      {"trained_betas", {0.1, 0.2}},
      {"trained_betas", 0.1},
      {"trained_betas", std::vector<double>(1000, -1)},
      {"prediction_type", "flow"},
      {"variance_type", "learned"},
      {"variance_type", "fixed_large_log"},
      {"variance_type", "learned_range"},
      {"clip_sample", "yes"},
      {"clip_sample_range", 2},
      {"timestep_spacing", "karras"},
      {"steps_offset", 1},
      {"set_alpha_to_one", false},
      {"rescale_betas_zero_snr", 1},
      {"solver_order", 2}};
  for (const auto& [key, value] : bad_processes) {
    const std::string text = folder.error_with(scheduler_json, key, value);
    CAPTURE(text);
    CHECK(contains(text, "scheduler_config.json cannot be taken over:\n  " + key + " is "));
    CHECK((key == "solver_order" || !contains(text, "not known")));
  }
  CHECK(contains(folder.error_with(unet_json, "down_block_types",
                                   {"DownBlock2D", "AttnDownBlock2D", "DownBlock2D"}),
                 "level 2 has attention on only one of its ways"));
  for (const char* key : {"in_channels", "out_channels", "sample_size", "block_out_channels",
                          "down_block_types", "up_block_types"})
    CHECK(contains(folder.error_without(unet_json, key), message("\n  ", key, " is missing")));
  CHECK(contains(folder.error_without(scheduler_json, "_class_name"), "_class_name is missing"));
}

TEST_CASE("diffusers: one error names all that is wrong") {
  const Folder folder("defaults");
  Json config = folder.read(unet_json);
  config["act_fn"] = "gelu";
  config["add_attention"] = false;
  config["sample_size"] = "large";
  folder.write(unet_json, config.dump());
  const std::string text = folder.error();
  CHECK(contains(text, "\n  act_fn is \"gelu\", supported is \"silu\" or \"swish\""));
  CHECK(contains(text, "\n  add_attention is false, supported is true"));
  CHECK(contains(text, "\n  sample_size is \"large\", expected a whole number"));
}

TEST_CASE("diffusers: weights that do not fit the configuration, and damaged files") {
  const Folder folder("defaults");
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"in_channels", 4}, {"layers_per_block", 2}, {"num_class_embeds", 3}}) {
    Json config = folder.read(unet_json);
    Json other = config;
    other[key] = value;
    if (key == "in_channels") other["out_channels"] = value;
    folder.write(unet_json, other.dump());
    CHECK(contains(folder.error(), "does not fit the configuration:\n"));
    folder.write(unet_json, config.dump());
  }
  CHECK(contains(folder.error_with(unet_json, "block_out_channels", {4, 8, 65536}),
                 "needs more than"));
  CHECK(contains(folder.error_with(unet_json, "norm_num_groups", 3), "split into 3 groups"));
  CHECK(contains(folder.error_with(unet_json, "attention_head_dim", 3), "split into heads of 3"));
  const std::string good = folder.read(unet_json).dump();
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[1, 2]"), std::string("nothing"),
        good.substr(0, good.size() / 2), std::string(100000, '['),
        "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}",
        std::string("{\"in_channels\": 1e999}"), "{\"in_channels\": 3, " + good.substr(1),
        std::string("\xff\xfe{}")}) {
    folder.write(unet_json, text);
    CHECK(contains(folder.error(), "unet/config.json"));
  }
  folder.write(unet_json, good);
  Json index = folder.read("model_index.json");
  CHECK(contains(folder.error_with("model_index.json", "_class_name", "StableDiffusionPipeline"),
                 "supported is \"DDPMPipeline\" or \"DDIMPipeline\""));
  CHECK(contains(folder.error_with("model_index.json", "unet", {"mine", "UNet2DModel"}),
                 "supported is [\"diffusers\",\"UNet2DModel\"]"));
  CHECK(contains(folder.error_with("model_index.json", "scheduler", {"diffusers", "DDIMScheduler"}),
                 "supported is \"DDIMScheduler\""));
  std::filesystem::rename(folder.folder.path / weights,
                          folder.folder.path / "unet/diffusion_pytorch_model.bin");
  CHECK(contains(folder.error(), "safe_serialization=True"));
  std::filesystem::remove(folder.folder.path / "unet/diffusion_pytorch_model.bin");
  std::filesystem::create_symlink("diffusion_pytorch_model.safetensors",
                                  folder.folder.path / weights);
  CHECK(contains(folder.error(), "symbolic links"));  // a link in a circle
  std::filesystem::remove_all(folder.folder.path / "unet");
  CHECK(contains(folder.error(), "config.json"));
}
