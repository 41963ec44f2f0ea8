#include "ddpm/diffusion/sample.hpp"

#include "pair.hpp"

using namespace test;

TEST_CASE("sample_from: little noise changes little, full noise all") {
  const Pair model{unclipped()};
  Tensor<double> x({500, 1, 2, 1}, 0.7);
  const auto noise = random_tensor<double>(x.shape(), 1);
  const auto varied = [&](Index t) {
    return sample_from(model, unclipped(), unclipped().add_noise(x, noise, t), t,
                       {.seed = 4, .batch_size = 200});
  };
  const auto near = varied(10), far = varied(999);
  CHECK(relative_difference<double>(near, x) < 0.3);
  CHECK(std::abs(moments(far, 0).mean) < 0.12);
  CHECK(moments(far, 0).deviation == doctest::Approx(0.5).epsilon(0.1));
  // From pure noise it is sample().
  std::vector<Rng> streams{Rng(4, Purpose::sampling, 0)};
  const auto start = sample_noise<double>({1, 1, 2, 1}, streams);
  const SampleOptions ddim{.count = 1, .seed = 4, .sampler = Sampler::ddim, .steps = 10};
  CHECK(same_bits(sample_from(model, unclipped(), start, 999, ddim),
                  sample(model, unclipped(), ddim)));
  // Every spacing begins where x_t is.
  for (const Spacing spacing : {Spacing::leading, Spacing::linspace, Spacing::trailing,
                                Spacing::karras, Spacing::exponential}) {
    double first = -1;
    sample_from(model, unclipped(), start, 599, {.steps = 10, .spacing = spacing},
                [&](const auto& progress) { first = first < 0 ? progress.t : first; });
    CHECK(first == doctest::Approx(599));
  }
  CHECK_THROWS_AS(sample_from(model, unclipped(), x, 1000), PreconditionError);
  CHECK_THROWS_AS(sample_from(model, unclipped(), x, 10, {.steps = 12}), PreconditionError);
  CHECK_THROWS_AS(sample_from(model, unclipped(), Tensor<double>(), 10), PreconditionError);
}

TEST_CASE("trajectory: every k-th state of a run, and the last") {
  const Pair model{unclipped()};
  Trajectory<double> trajectory{.every = 4};
  const SampleOptions options{.count = 3, .steps = 10};
  const auto samples = sample(model, unclipped(), options, std::ref(trajectory));
  REQUIRE(trajectory.states.size() == 3);
  CHECK(trajectory.states[0].step == 4);
  CHECK(trajectory.states[1].step == 8);
  CHECK(trajectory.states[2].step == 10);
  CHECK(same_bits(trajectory.states[2].prev_sample, samples));
  CHECK(same_bits(trajectory.states[2].pred_original_sample, samples));
  Trajectory<double> none{.every = 0};
  CHECK_THROWS_AS(sample(model, unclipped(), options, std::ref(none)), PreconditionError);
  CHECK(trajectory.states[0].t == 699);  // trailing: 999, 899, ..., the fourth
}

TEST_CASE("sample: PyTorch's noise, of a generator a sample or of one for all") {
  const Pair model{unclipped()};
  const auto drawn = [&](Index count, std::uint64_t seed, NoiseKind noise, Index batch = 64) {
    return sample(model, unclipped(),
                  {.count = count, .seed = seed, .batch_size = batch, .steps = 7, .noise = noise});
  };
  const auto each = drawn(5, 8, NoiseKind::pytorch);
  CHECK(same_bits(drawn(5, 8, NoiseKind::pytorch, 2), each));
  for (Index i = 0; i < 5; ++i)
    CHECK(same_bits(copy_of(each.slice(i, 1)),
                    drawn(1, 8 + std::uint64_t(i), NoiseKind::pytorch_batch)));
  const auto all = drawn(5, 8, NoiseKind::pytorch_batch);
  TorchGenerator generator(8);
  const auto noise = [&] { return generator.normal<double>(all.shape()); };
  CHECK(same_bits(all, solve(Ancestral<double>(), model, unclipped(),
                             noise_levels(unclipped(), 7, Spacing::trailing), noise(), noise)));
  const SampleOptions options{.count = 5, .batch_size = 4, .noise = NoiseKind::pytorch_batch};
  CHECK(contains(error_of<PreconditionError>([&] { sample(model, unclipped(), options); }),
                 "5 samples from number 0 in batches of 4"));
}
