// What starts from images: variations, interpolation, inpainting; and the states of a run.
#include "../support.hpp"
#include "ddpm/diffusion/inpaint.hpp"
#include "ddpm/diffusion/interpolate.hpp"

using namespace test;

namespace {

/// The best denoiser of two pixels, each N(0, 0.5^2), with correlation 0.8.
struct Pair {
  static constexpr double variance = 0.25, correlation = 0.8;
  const Scheduler<double>& scheduler;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const NoiseLevel l = scheduler.level(t[0]);
    const Tensor<double> eps = x.value().clone();
    // Sum and difference are independent.
    const auto factor = [&](double v) { return l.sigma() / (l.abar * v + 1 - l.abar); };
    const double plus = factor(variance * (1 + correlation));
    const double minus = factor(variance * (1 - correlation));
    for (Index n = 0; n < eps.dim(0); ++n) {
      double* e = eps.data() + 2 * n;
      const double sum = plus * (e[0] + e[1]) / 2, difference = minus * (e[0] - e[1]) / 2;
      e[0] = sum + difference;
      e[1] = sum - difference;
    }
    return Variable<double>(eps);
  }
  Shape sample_shape(Index count) const { return {count, 1, 2, 1}; }
};

const Scheduler<double>& unclipped() {
  static const Scheduler<double> scheduler({.clip_sample = false});
  return scheduler;
}

struct Moments {
  double mean = 0, deviation = 0;
};
/// Of pixel `which` of each pair.
Moments moments(const Tensor<double>& x, Index which) {
  double sum = 0, squares = 0;
  for (Index n = 0; n < x.dim(0); ++n) {
    sum += x[2 * n + which];
    squares += x[2 * n + which] * x[2 * n + which];
  }
  const double mean = sum / double(x.dim(0));
  return {mean, std::sqrt(squares / double(x.dim(0)) - mean * mean)};
}

}  // namespace

TEST_CASE("inpaint: the open pixel follows the known one, as the conditional distribution has it") {
  const Pair model{unclipped()};
  const Index N = 2000;
  const Tensor<double> known({N, 1, 2, 1}, 0.0), mask(known.shape(), 0.0);
  for (Index n = 0; n < N; ++n) {
    known[2 * n] = 0.6;
    mask[2 * n] = 1;
  }
  const auto filled =
      inpaint(model, unclipped(), known, mask, {.batch_size = N, .steps = 100, .jump_length = 5});
  for (Index n = 0; n < N; ++n) REQUIRE(filled[2 * n] == 0.6);
  const auto [mean, deviation] = moments(filled, 1);
  CHECK(mean == doctest::Approx(0.8 * 0.6).epsilon(0.06));
  CHECK(deviation == doctest::Approx(0.5 * std::sqrt(1 - 0.64)).epsilon(0.1));
  // Without jumps the two agree less.
  const auto once =
      inpaint(model, unclipped(), known, mask, {.batch_size = N, .steps = 100, .resamplings = 1});
  CHECK(moments(once, 1).deviation > deviation);
}

TEST_CASE("inpaint: with everything open it is ancestral sampling") {
  const Pair model{unclipped()};
  const Tensor<double> known({2000, 1, 2, 1}, 0.9), open(known.shape(), 0.0);
  const auto x =
      inpaint(model, unclipped(), known, open, {.batch_size = 2000, .steps = 50, .resamplings = 2});
  const auto y = sample(model, unclipped(), {.count = 2000, .batch_size = 2000, .steps = 50});
  CHECK(std::abs(moments(x, 0).mean - moments(y, 0).mean) < 0.06);
  CHECK(moments(x, 0).deviation == doctest::Approx(moments(y, 0).deviation).epsilon(0.06));
  double correlation = 0;
  for (Index n = 0; n < 2000; ++n) correlation += x[2 * n] * x[2 * n + 1] / 2000 / Pair::variance;
  CHECK(correlation == doctest::Approx(Pair::correlation).epsilon(0.1));
}

TEST_CASE("inpaint: the same whatever the batch; the states of a run") {
  const Pair model{unclipped()};
  const Tensor<double> known({5, 1, 2, 1}, 0.9), open(known.shape(), 0.0);
  const InpaintOptions two{.seed = 3, .batch_size = 2, .steps = 20}, all{.seed = 3, .steps = 20};
  Index steps = 0;
  Tensor<double> last;
  const auto a = inpaint(model, unclipped(), known, open, all, [&](const auto& progress) {
    ++steps;
    last = progress.prev_sample;
  });
  CHECK(same_bits(a, last));
  CHECK(steps == 20 + 9 * 10);  // one place, nine jumps of ten
  CHECK(same_bits(a, inpaint(model, unclipped(), known, open, two)));
  const Tensor<double> closed(known.shape(), 1.0);
  CHECK(same_bits(inpaint(model, unclipped(), known, closed, two), known));
}

TEST_CASE("inpaint: the levels that a run visits") {
  using V = std::vector<std::size_t>;
  CHECK(detail::repaint_visits(4, 10, 10) == V{0, 1, 2, 3, 4});
  CHECK(detail::repaint_visits(3, 1, 1) == V{0, 1, 2, 3});
  // Jumps of one from the last two levels but the first, each twice.
  CHECK(detail::repaint_visits(3, 1, 2) == V{0, 1, 0, 1, 2, 1, 2, 3});
  // The paper's 250 steps, jumps of ten, ten times: 24 places jump nine times back and forth.
  CHECK(detail::repaint_visits(250, 10, 10).size() == 250 + 24 * 9 * 20 + 1);
}

TEST_CASE("inpaint: bad input is named") {
  const Pair model{unclipped()};
  const Tensor<double> known({1, 1, 2, 1}, 0.0), mask({1, 1, 2, 1}, 1.0), half({1, 1, 1, 1}, 1.0),
      wild({1, 1, 2, 1}, 2.0);
  const auto error = [&](const Tensor<double>& x, const Tensor<double>& m, InpaintOptions options) {
    return error_of<PreconditionError>([&] { inpaint(model, unclipped(), x, m, options); });
  };
  CHECK(contains(error(known, half, {}), "mask is (1, 1, 1, 1), expected (1, 1, 2, 1)"));
  CHECK(contains(error(known, wild, {}), "a mask value 2"));
  CHECK(contains(error(Tensor<double>(), mask, {}), "known is ()"));
  CHECK(contains(error(known, mask, {.jump_length = 0}), "jump_length is 0"));
  CHECK(contains(error(known, mask, {.resamplings = 0}), "resamplings is 0"));
  CHECK(contains(error(known, mask, {.steps = 2000}), "2000 steps"));
  CHECK(contains(error(known, mask, {.labels = {1}}), "inpaint: labels for a denoiser"));
}

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

TEST_CASE("interpolate: from one image to the other") {
  const Pair model{unclipped()};
  const Tensor<double> a({1, 1, 2, 1}, {0.8, 0.7}), b({1, 1, 2, 1}, {-0.6, -0.5});
  const std::vector<double> lambdas{0, 0.25, 0.5, 1};
  const auto images = interpolate(model, unclipped(), a, b, lambdas, 20);
  REQUIRE(images.shape() == Shape{4, 1, 2, 1});
  for (Index i = 1; i < 4; ++i) CHECK(images[2 * i] < images[2 * i - 2]);
  CHECK(std::abs(images[0] - 0.8) < 0.3);
  CHECK(std::abs(images[6] + 0.6) < 0.3);
  // For a linear denoiser and the same noise, the middle lies in the middle.
  const auto ddim = interpolate(model, unclipped(), a, b, lambdas, 20, {.sampler = Sampler::ddim});
  CHECK(ddim[4] == doctest::Approx((ddim[0] + ddim[6]) / 2));
  const auto error = [&](const Tensor<double>& to, std::vector<double> at) {
    return error_of<PreconditionError>([&] { interpolate(model, unclipped(), a, to, at, 20); });
  };
  CHECK(contains(error(Tensor<double>({1, 1, 1, 1}, 0.0), {0}), "b is (1, 1, 1, 1)"));
  CHECK(contains(error(b, {}), "no lambdas"));
  CHECK(contains(error(b, {1.5}), "lambda is 1.5"));
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
