#include "ddpm/nn/unet.hpp"

#include "ddpm/autograd/gradcheck.hpp"
#include "fixture.hpp"

using namespace test;

TEST_CASE("unet: the presets have the published numbers of parameters") {
  using F = float;
  CHECK(nn::parameter_count<F>(UNet<F>(UNetConfig::ho2020_cifar10(), Rng(1))) == 35'746'307);
  CHECK(nn::parameter_count<F>(UNet<F>(UNetConfig::mnist_small(), Rng(1))) == 4'179'297);
  CHECK(nn::parameter_count<F>(UNet<F>(UNetConfig::tiny(), Rng(1))) == 1'112'801);
  CHECK(nn::parameter_count<F>(UNet<F>(UNetConfig::ho2020_256(), Rng(1))) == 113'673'219);
  CHECK(nn::parameter_count<F>(TutorialUNet<F>(TutorialUNetConfig::tutorial(), Rng(1))) ==
        8'144'227);
  memory::trim();
}

TEST_CASE("unet: names are dotted, unique and in a fixed order") {
  const UNet<float> net(small_unet, Rng(1));
  const auto parameters = nn::named_parameters<float>(net);
  CHECK(parameters.front().name == "time.linear1.weight");
  CHECK(parameters.back().name == "conv_out.bias");
  std::vector<std::string> names;
  for (const auto& [name, parameter] : parameters) names.push_back(name);
  CHECK(std::count(names.begin(), names.end(), "down.0.stages.0.block.norm1.gamma") == 1);
  CHECK(std::count(names.begin(), names.end(), "down.1.stages.0.attention.qkv.weight") == 1);
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
}

TEST_CASE("unet: any image size that the levels can halve") {
  const NoGrad no_grad;
  const UNet<float> net(small_unet, Rng(1));
  const TutorialUNet<float> tutorial(small_tutorial, Rng(1));
  const std::array<double, 2> t{0, 999};
  for (const auto& [H, W] : {std::pair<Index, Index>{8, 8}, {28, 28}, {13, 9}, {4, 31}, {7, 7}}) {
    const auto x = random_tensor<float>({2, H, W, 2}, 1);
    CHECK(net(Variable<float>(x), t).shape() == x.shape());
    if (H >= 8 && W >= 8) CHECK(tutorial(Variable<float>(x), t).shape() == x.shape());
  }
  const UNet<float> four_levels(UNetConfig::mnist_small(), Rng(1));
  const auto x = random_tensor<float>({1, 28, 28, 1}, 1);
  CHECK(four_levels(Variable<float>(x), std::array<double, 1>{5}).shape() == x.shape());
}

TEST_CASE("unet: levels of any width, heads of one width, other paddings") {
  const UNet<float> net({.image = {.channels = 1},
                         .channels = 24,
                         .multipliers = {1, 40.0 / 24, 2},
                         .blocks = 1,
                         .attention_levels = {1, 2},
                         .groups = 4,
                         .head_channels = 8,
                         .symmetric_padding = true},
                        Rng(1));
  CHECK(net.config.width(1) == 40);
  CHECK(net.down[1].stages[0].attention->heads == 5);
  CHECK(net.middle[0].attention->heads == 6);
  CHECK(net.down[0].resample->geometry.padding.top == 1);
  const auto x = random_tensor<float>({2, 9, 12, 1}, 1);
  CHECK(net(Variable<float>(x), std::array<double, 2>{0, 9}).shape() == x.shape());
}

TEST_CASE("unet: bad input is named") {
  const UNet<float> net(small_unet, Rng(1));
  const std::array<double, 1> t{0};
  const auto run = [&](const Shape& shape, std::span<const double> ts) {
    return error_of<PreconditionError>([&] { net(Variable<float>(Tensor<float>(shape, 0)), ts); });
  };
  CHECK(contains(run({1, 3, 8, 2}, t), "smaller than the network's reduction, 4 x 4"));
  CHECK(contains(run({1, 8, 8, 3}, t), "expected (N, H, W, 2)"));
  CHECK(contains(run({2, 8, 8, 2}, t), "1 timesteps for 2 images"));

  const auto build = [](UNetConfig config) {
    return error_of<PreconditionError>([&] { UNet<float>(config, Rng(1)); });
  };
  CHECK(contains(build({.channels = 36}), "36 channels do not split into 32 groups"));
  CHECK(contains(build({.channels = 0}), "channels is 0"));
  CHECK(contains(build({.multipliers = {}}), "0 multipliers"));
  CHECK(contains(build({.multipliers = {1, 0}}), "a multiplier is 0"));
  CHECK(contains(build({.channels = 32, .multipliers = {1, 1.3}}), "gives 41.6"));
  CHECK(contains(build({.multipliers = {std::nan("")}}), "a multiplier is nan"));
  CHECK(contains(build({.head_channels = 48}), "256 channels do not split into heads of 48"));
  CHECK(contains(build({.head_channels = -1}), "head_channels is -1"));
  CHECK(contains(build({.norm_eps = 0}), "norm_eps is 0"));
  CHECK(contains(build({.time = {.frequency_shift = 1.5}}), "frequency_shift is 1.5"));
  CHECK(contains(build({.attention_levels = {4}}), "attention level 4, expected 0 to 3"));
  CHECK(contains(build({.heads = 3}), "do not split into 3 heads"));
  CHECK(contains(build({.dropout = 1}), "dropout is 1"));
  CHECK(contains(build({.image = {.channels = -1}}), "image.channels is -1"));
  CHECK(contains(build({.image = {.height = 0}}), "image is 0 x 32"));
  CHECK_THROWS_AS(TutorialUNet<float>({.levels = {}}, Rng(1)), PreconditionError);
}

TEST_CASE("unet: the derivative of both networks, end to end") {
  const std::array<double, 1> t{17};
  const auto check = [&](const auto& net, const Shape& shape) {
    randomise<double>(net);
    // All parameters would take minutes: the first and last of each kind, and the input.
    std::vector<Variable<double>> inputs{random_parameter(shape, 1)};
    const auto all = nn::named_parameters<double>(net);
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i].parameter.shape().size() <= 16 && i % 3 == 0) inputs.push_back(all[i].parameter);
    const auto result = gradcheck([&](const auto& in) { return net(in[0], t); }, inputs);
    CAPTURE(result.input);
    CAPTURE(result.analytic);
    CAPTURE(result.numeric);
    CHECK(result.error < 1e-6);
  };
  check(UNet<double>(small_unet, Rng(1)), {1, 5, 4, 2});
  UNetConfig classes = small_unet;
  classes.image.classes = 2;
  check(UNet<double>(classes, Rng(1)), {1, 5, 4, 2});
  check(TutorialUNet<double>(small_tutorial, Rng(1)), {1, 9, 8, 2});
}

TEST_CASE("unet: dropout acts only in training") {
  UNetConfig config = small_unet;
  config.dropout = 0.5;
  const UNet<float> net(config, Rng(1));
  randomise<float>(net);
  const Variable<float> x(random_tensor<float>({1, 8, 8, 2}, 1));
  const std::array<double, 1> t{3};
  Rng rng(1), same(1), other(2);
  const auto a = net(x, t, {}, &rng).value();
  CHECK(same_bits(a, net(x, t, {}, &same).value()));
  CHECK_FALSE(same_bits(a, net(x, t, {}, &other).value()));
  CHECK(same_bits(net(x, t).value(), net(x, t).value()));
}

TEST_CASE("unet: classes enter with the time, and no label is a class of its own") {
  UNetConfig config = small_unet;
  config.image.classes = 3;
  TutorialUNetConfig tutorial = small_tutorial;
  tutorial.image.classes = 3;
  const auto check = [](const auto& net) {
    randomise<float>(net);
    const Variable<float> x(random_tensor<float>({2, 8, 8, 2}, 1));
    const std::array<double, 2> t{3, 3};
    const auto run = [&](std::vector<Index> labels) { return net(x, t, labels).value(); };
    CHECK(same_bits(net(x, t).value(), run({no_label, no_label})));
    CHECK_FALSE(same_bits(run({0, 0}), run({no_label, no_label})));
    CHECK_FALSE(same_bits(run({0, 0}), run({0, 2})));
    // A label changes only its own image.
    const auto both = run({0, 0}), other = run({0, 2});
    CHECK(std::equal(both.begin(), both.begin() + 128, other.begin()));
    const auto error = [&](std::vector<Index> labels) {
      return error_of<PreconditionError>([&] { run(labels); });
    };
    CHECK(contains(error({0, 3}), "label 1 is 3, expected 0 to 2"));
    CHECK(contains(error({0}), "1 labels for 2 images"));
  };
  check(UNet<float>(config, Rng(1)));
  check(TutorialUNet<float>(tutorial, Rng(1)));
  const UNet<float> plain(small_unet, Rng(1));
  const Variable<float> x(random_tensor<float>({1, 8, 8, 2}, 1));
  CHECK(contains(error_of<PreconditionError>(
                     [&] { plain(x, std::array<double, 1>{3}, std::array<Index, 1>{0}); }),
                 "labels for a network without classes"));
  config.image.classes = -1;
  CHECK_THROWS_AS(UNet<float>(config, Rng(1)), PreconditionError);
}

TEST_CASE("unet: with a learned variance twice the channels come out") {
  UNetConfig config = small_unet;
  config.image.learn_variance = true;
  TutorialUNetConfig tutorial = small_tutorial;
  tutorial.image.learn_variance = true;
  const Variable<float> x(random_tensor<float>({1, 8, 8, 2}, 1));
  const std::array<double, 1> t{3};
  CHECK(UNet<float>(config, Rng(1))(x, t).shape() == Shape{1, 8, 8, 4});
  CHECK(TutorialUNet<float>(tutorial, Rng(1))(x, t).shape() == Shape{1, 8, 8, 4});
}
