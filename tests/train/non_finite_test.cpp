#include "ddpm/diffusion/sample.hpp"
#include "ddpm/train/checkpoint.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

const float nan_pixel = std::numeric_limits<float>::quiet_NaN();

/// Ten images, of which some have a pixel that is not a number.
Tensor<float> images(std::initializer_list<Index> broken) {
  auto result = random_tensor<float>({10, 8, 8, 1}, 1);
  for (const Index i : broken) result[64 * i + 9] = nan_pixel;
  return result;
}

TrainerOptions skipping(Index steps) {
  TrainerOptions options = quiet(steps);
  options.batch_size = 2;
  options.non_finite = NonFinite::skip;
  return options;
}

void check_finite_weights(const UNet<float>& network) {
  for (const auto& parameter : nn::parameters<float>(network))
    for (const float w : parameter.value()) REQUIRE(std::isfinite(w));
}

/// Images of which the next `fails` that are read are not numbers.
struct Unsteady {
  Tensor<float> images;
  std::atomic<int>& fails;

  Index size() const { return images.dim(0); }
  Shape image_shape() const { return {8, 8, 1}; }
  void read(Index i, View<float> image) const {
    const View<float> from = images.slice(i, 1);
    std::copy(from.begin(), from.end(), image.begin());
    if (fails > 0 && fails-- > 0) image[0] = nan_pixel;
  }
};

}  // namespace

TEST_CASE("not finite [NU-1]: updates are left out and counted, and the run goes on") {
  const UNet<float> net(small, Rng(1));
  Trainer<float> trainer(net, Scheduler<float>(), skipping(20));
  Index seen = 0;
  trainer.fit(images({7}), [&](auto&, const TrainingStep& step) { CHECK(step.step == ++seen); });
  CHECK(trainer.steps() == 20);
  // Each epoch of five batches has one with image 7.
  CHECK(trainer.skipped() == 5);
  check_finite_weights(net);

  // The count and what follows are those of a run that is not stopped.
  const TemporaryFolder folder;
  trainer.save(folder.path / "whole");
  const UNet<float> other(small, Rng(1));
  Trainer<float> first(other, Scheduler<float>(), skipping(20));
  first.fit(images({7}), [&](auto& running, const TrainingStep& step) {
    if (step.step == 9) running.stop();
  });
  first.save(folder.path / "part");
  Trainer<float> second(other, Scheduler<float>(), skipping(20));
  second.resume(folder.path / "part");
  second.fit(images({7}));
  second.save(folder.path / "part");
  CHECK(io::read_file(folder.path / "part") == io::read_file(folder.path / "whole"));
}

TEST_CASE("not finite [NU-1]: too many in a row end the run, with step and tensor") {
  const UNet<float> net(small, Rng(1));
  const auto before = net.conv_in.weight.value().clone();
  TrainerOptions options = skipping(20);
  options.most_skipped = 3;
  Trainer<float> trainer(net, Scheduler<float>(), options);
  const auto all = images({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  const std::string text = error_of<NonFiniteError>([&] { trainer.fit(all); });
  CHECK(contains(text, "the loss of step 1 is"));
  CHECK(contains(text, "in the gradient of time."));
  CHECK(contains(text, "after 3 that were left out"));
  CHECK(trainer.skipped() == 3);
  CHECK(same_bits(before, net.conv_in.weight.value()));

  net.down[0].stages[0].block.conv1.bias.value()[0] = nan_pixel;
  options.non_finite = NonFinite::fail;
  Trainer<float> broken(net, Scheduler<float>(), options);
  CHECK(contains(error_of<NonFiniteError>([&] { broken.fit(images({})); }),
                 "first in the weight down.0.stages.0.block.conv1.bias"));
}

TEST_CASE("not finite [NU-1]: the run goes back to the state saved last, and on from there") {
  const TemporaryFolder folder;
  const UNet<float> net(small, Rng(1));
  TrainerOptions options = skipping(12);
  options.non_finite = NonFinite::reload;
  options.save = {.folder = folder.path.string(), .minutes = 0, .steps = 4};
  std::atomic<int> fails{0};
  const Unsteady data{images({}), fails};
  std::vector<Index> steps;
  Tensor<float> at_four;
  Trainer<float> trainer(net, Scheduler<float>(), options);
  trainer.fit(data, [&](auto&, const TrainingStep& step) {
    steps.push_back(step.step);
    if (step.step == 4) at_four = net.conv_in.weight.value().clone();
    if (steps.size() == 7) fails = 2;  // the images of the next update
  });
  CHECK(steps == std::vector<Index>{1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(trainer.skipped() == 1);

  // One that fails again and again ends it; the weights are those of the state.
  options.most_skipped = 2;
  options.save.folder = (folder.path / "second").string();
  const UNet<float> other(small, Rng(1));
  Trainer<float> stuck(other, Scheduler<float>(), options);
  const auto on_step = [&](auto&, const TrainingStep& step) {
    if (step.step == 6) fails = 2;
  };
  CHECK(
      contains(error_of<NonFiniteError>([&] { stuck.fit(data, on_step); }), "the loss of step 7"));
  CHECK(stuck.skipped() == 2);
  check_finite_weights(other);

  options.save.folder = "";
  CHECK(contains(
      error_of<PreconditionError>([&] { Trainer<float>(other, Scheduler<float>(), options); }),
      "needs save.folder"));
  options.non_finite = NonFinite::skip;
  options.most_skipped = 0;
  CHECK(contains(
      error_of<PreconditionError>([&] { Trainer<float>(other, Scheduler<float>(), options); }),
      "most_skipped is 0"));
}
