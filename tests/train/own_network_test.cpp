// A network and a data set of the user's own, as CONTRIBUTING and the headers describe them.
#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/checkpoint.hpp"
#include "ddpm/train/trainer.hpp"

using namespace test;

namespace {

/// The least that can be trained: two convolutions that do not even look at the timestep.
struct TwoLayers {
  nn::Conv2d<float> first, second;

  explicit TwoLayers(Rng rng)
      : first(nn::Conv2d<float>::same3x3(1, 8, rng)),
        second(nn::Conv2d<float>::same3x3(8, 1, rng)) {}

  Variable<float> operator()(const Variable<float>& x, std::span<const double>,
                             std::span<const Index> = {}, Rng* = nullptr) const {
    return second(silu(first(x)));
  }
  Index classes() const { return 0; }
  Shape sample_shape(Index count) const { return {count, 8, 8, 1}; }

  static void members(auto& self, auto&& visit) {
    visit("first", self.first);
    visit("second", self.second);
  }
};

static_assert(TrainableNetwork<TwoLayers, float>);
static_assert(TrainableNetwork<UNet<double>, double>);
static_assert(!TrainableNetwork<int, float>);
static_assert(!TrainableNetwork<nn::Conv2d<float>, float>);  // has members, is no denoiser

/// Bright squares at places that the number of the image gives; nothing is stored.
struct Squares {
  Index size() const { return 1000; }
  Shape image_shape() const { return {8, 8, 1}; }
  void read(Index i, View<float> image) const {
    for (Index p = 0; p < 64; ++p)
      image[p] = p / 8 / 4 == i % 2 && p % 8 / 4 == i / 2 % 2 ? 0.9F : -0.9F;
  }
};

static_assert(data::Dataset<Squares, float>);
static_assert(data::Dataset<data::LabelledImages<float>, float>);
static_assert(!data::Dataset<Tensor<float>, float>);
static_assert(!data::Labelled<Squares>);

}  // namespace

TEST_CASE("own network: trained through the same door, and sampled") {
  const TwoLayers network(Rng(1));
  const Scheduler<float> scheduler({.timesteps = 50});
  TrainerOptions options;
  options.batch_size = 8;
  options.steps = 60;
  options.learning_rate = 1e-2;
  options.progress = Progress::silent;
  Trainer<float, TwoLayers> trainer(network, scheduler, options);
  double first = 0, last = 0;
  const auto images = random_tensor<float>({16, 8, 8, 1}, 1);
  trainer.fit(images, [&](auto&, const TrainingStep& step) {
    if (step.step <= 10) first += step.loss / 10;
    if (step.step > 50) last += step.loss / 10;
  });
  CHECK(last < 0.7 * first);
  CHECK(sample(trainer.ema_model(), scheduler, {.count = 3}).shape() == Shape{3, 8, 8, 1});
}

TEST_CASE("own loop: loss, gradients and Adam by hand") {
  const UNet<float> network({.image = {.channels = 1, .height = 8, .width = 8},
                             .channels = 8,
                             .multipliers = {1},
                             .blocks = 1,
                             .attention_levels = {},
                             .groups = 4,
                             .dropout = 0},
                            Rng(1));
  const Scheduler<float> scheduler;
  const Squares squares;
  std::vector<double> history;
  // clang-format off
  optim::Adam<float> adam(nn::parameters<float>(network));
  data::Loader<float> loader(squares, {.batch_size = 8, .seed = 1});
  Rng rng(2);
  for (Index step = 0; step < 60; ++step) {
    const auto batch = loader.next();
    const Tensor<float> noise(batch.images.shape());
    fill_normal<float>(noise, rng);
    std::vector<Index> t(8);
    for (Index& each : t) each = rng.below(scheduler.timesteps());
    const auto losses = training_losses(network, scheduler, batch.images, noise, t);  // algorithm 1
    const auto loss = weighted_mean(losses, Tensor<float>({8}, 1.0F));
    adam.zero_grad();
    loss.backward();
    adam.step(2e-3);
    history.push_back(double(loss.value()[0]));
  }
  // clang-format on
  double first = 0, last = 0;
  for (std::size_t i = 0; i < 10; ++i) {
    first += history[i];
    last += history[history.size() - 1 - i];
  }
  CHECK(last < 0.7 * first);
}

TEST_CASE("own data set: through the same loader and trainer as images in memory") {
  const Squares squares;
  const auto in_memory = data::read_images<float>(squares, 0, squares.size());
  const data::LoaderOptions options{.batch_size = 300, .seed = 3, .horizontal_flip = true};
  data::Loader<float> own(squares, options), tensors(in_memory, options);
  for (int i = 0; i < 5; ++i) CHECK(same_bits(own.next().images, tensors.next().images));
  const auto train = [](const auto& data) {
    const TwoLayers network(Rng(1));
    TrainerOptions training;
    training.batch_size = 4;
    training.steps = 3;
    training.progress = Progress::silent;
    Trainer<float, TwoLayers>(network, Scheduler<float>(), training).fit(data);
    return network.first.weight.value();
  };
  CHECK(same_bits(train(squares), train(in_memory)));
}

namespace {

/// Squares that take their time, as files do.
struct SlowSquares : Squares {
  static constexpr bool reads_slowly = true;
  bool fails = false;
  void read(Index i, View<float> image) const {
    if (fails && i == 7) throw IoError("picture 7: damaged");
    Squares::read(i, image);
  }
};

}  // namespace

TEST_CASE("own data set: reading ahead changes no batch, and errors reach the caller") {
  const data::LoaderOptions options{.batch_size = 70, .seed = 3};
  const SlowSquares slow;
  const Squares fast;
  data::Loader<float> ahead(slow, options), plain(fast, options);
  for (int i = 0; i < 20; ++i) {
    CHECK(same_bits(ahead.next().images, plain.next().images));
    CHECK(ahead.drawn() == plain.drawn());
  }
  SlowSquares damaged;
  damaged.fails = true;
  data::Loader<float> loader(damaged, {.batch_size = 1000, .seed = 1});
  CHECK(contains(error_of<IoError>([&] { loader.next(); }), "picture 7"));
}
