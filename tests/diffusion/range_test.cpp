// Whatever the schedule, the prediction, the sampler and its options: a run is refused before any
// work, or its samples are finite.
#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/diffusion/inpaint.hpp"
#include "ddpm/diffusion/sample.hpp"

using namespace test;

namespace {

/// The best denoiser of N(0, 0.5^2), in the terms of the scheduler's prediction.
template <class T>
struct Gaussian {
  const Scheduler<T>& scheduler;

  Variable<T> operator()(const Variable<T>& x, std::span<const double> t) const {
    const NoiseLevel l = scheduler.level(t[0]);
    const double spread = l.abar * 0.25 + 1 - l.abar;
    const double x_0 = l.alpha() * 0.25 / spread, eps = l.sigma() / spread;
    double factor = 0;
    switch (scheduler.config().prediction) {
      case Prediction::epsilon: factor = eps; break;
      case Prediction::x_0: factor = x_0; break;
      case Prediction::v: factor = l.alpha() * eps - l.sigma() * x_0; break;
      case Prediction::x_prev: {
        const auto at = static_cast<Index>(t[0]);
        const Posterior p = scheduler.posterior(at, at - 1);
        factor = p.mean_of_x_0() * x_0 + p.mean_of_x_t();
        break;
      }
    }
    return T(factor) * x;
  }
  Shape sample_shape(Index count) const { return {count, 1, 2, 1}; }
};

struct Ranges {
  double start, end;
};
constexpr Ranges ranges[] = {{1e-4, 0.02}, {1e-6, 0.999}, {0.5, 0.5}, {1e-12, 1e-3}, {0.9, 0.1}};

/// One case of the grid, drawn by its number.
struct Case {
  SchedulerConfig config;
  SampleOptions options;

  explicit Case(Index number) {
    Rng rng(11, Purpose::general, number);
    const auto choose = [&](const auto& list) {
      return list[std::size_t(rng.below(std::ssize(list)))];
    };
    config.timesteps = choose(std::array<Index, 7>{1, 2, 10, 50, 100, 1000, 4000});
    config.schedule = static_cast<BetaSchedule>(rng.below(8));  // all but custom
    const Ranges range = choose(std::to_array(ranges));
    config.beta_start = range.start;
    config.beta_end = range.end;
    config.scale_range = rng.below(2) == 0;
    config.zero_terminal_snr = rng.below(3) == 0;
    config.prediction = static_cast<Prediction>(rng.below(4));
    config.variance = rng.below(2) == 0 ? Variance::fixed_small : Variance::fixed_large;
    config.clip_sample = rng.below(2) == 0;
    options.count = 2;
    options.sampler = static_cast<Sampler>(rng.below(std::ssize(enum_names<Sampler>)));
    options.steps = 1 + rng.below(std::min<Index>(50, config.timesteps));
    options.spacing = static_cast<Spacing>(rng.below(5));
    options.final = rng.below(2) == 0 ? FinalLevel::clean : FinalLevel::sigma_min;
    options.eta = choose(std::array{0.0, 0.5, 1.0});
    options.seed = static_cast<std::uint64_t>(number);
  }

  std::string text() const {
    return message(config.timesteps, " ", name_of(config.schedule), " ", config.beta_start, "..",
                   config.beta_end, config.scale_range ? " scaled" : "",
                   config.zero_terminal_snr ? " zero snr" : "", " ", name_of(config.prediction),
                   " ", name_of(options.sampler), " ", options.steps, " ", name_of(options.spacing),
                   " ", name_of(options.final), " eta ", options.eta,
                   config.clip_sample ? " clipped" : "");
  }
};

/// Whether the case runs; anything but a refusal beforehand or finite samples fails.
template <class T>
bool runs(const Case& c) {
  CAPTURE(c.text());
  std::optional<Scheduler<T>> scheduler;
  try {
    scheduler.emplace(c.config);
    check_sampling(Gaussian<T>{*scheduler}, *scheduler, c.options);
  } catch (const PreconditionError&) {
    return false;
  }
  try {
    const auto samples = sample(Gaussian<T>{*scheduler}, *scheduler, c.options);
    for (const T v : samples) CHECK(std::isfinite(v));
  } catch (const std::exception& error) {
    FAIL_CHECK(std::string(error.what()));
  }
  return true;
}

}  // namespace

TEST_CASE_TEMPLATE("range: a run is refused before any work, or finite", T, float, double) {
  constexpr Index cases = 20000;
  Index run = 0;
  for (Index number = 0; number < cases; ++number) run += runs<T>(Case(number));
  CHECK(run > cases / 3);  // refusing everything would be easy
}

TEST_CASE("range: the schedules that a user is likely to take are not refused") {
  for (const Index T : {10, 100, 1000, 4000})
    for (const BetaSchedule schedule : {BetaSchedule::linear, BetaSchedule::quadratic,
                                        BetaSchedule::cosine, BetaSchedule::sigmoid})
      for (std::size_t i = 0; i < enum_names<Sampler>.size(); ++i) {
        const Scheduler<float> scheduler({.timesteps = T, .schedule = schedule});
        const SampleOptions options{.sampler = static_cast<Sampler>(i), .steps = 10};
        CAPTURE(name_of(options.sampler));
        CAPTURE(name_of(schedule));
        CHECK_NOTHROW(check_sampling(Gaussian<float>{scheduler}, scheduler, options));
      }
}

TEST_CASE("range: too little signal for float is named, with what to do") {
  const SchedulerConfig config{
      .timesteps = 100, .schedule = BetaSchedule::constant, .beta_end = 0.9, .scale_range = false};
  const Scheduler<float> narrow(config);
  const std::string text = error_of<PreconditionError>(
      [&] { check_sampling(Gaussian<float>{narrow}, narrow, SampleOptions{.steps = 5}); });
  CHECK(contains(text, "timestep 99"));
  CHECK(contains(text, "predict v or x_0"));
  const Scheduler<double> wide(config);
  CHECK_NOTHROW(check_sampling(Gaussian<double>{wide}, wide, SampleOptions{.steps = 5}));
}

TEST_CASE("range: a sample that leaves the finite range stops the run and names the step") {
  struct Broken {
    Variable<float> operator()(const Variable<float>& x, std::span<const double> t) const {
      return t[0] < 500 ? Variable<float>(Tensor<float>(x.shape(), std::nanf(""))) : 0.5F * x;
    }
    Shape sample_shape(Index count) const { return {count, 4, 4, 1}; }
  };
  const Scheduler<float> scheduler({.clip_sample = false});
  for (std::size_t i = 0; i < enum_names<Sampler>.size(); ++i) {
    const SampleOptions options{.sampler = static_cast<Sampler>(i), .steps = 10};
    CAPTURE(name_of(options.sampler));
    const std::string text =
        error_of<NonFiniteError>([&] { sample(Broken(), scheduler, options); });
    CHECK(contains(text, " of 10, from timestep "));
  }
  const Tensor<float> known({1, 4, 4, 1}, 0.0F);
  CHECK_THROWS_AS(inpaint(Broken(), scheduler, known, known, {.steps = 10}), NonFiniteError);
}

TEST_CASE("range: predictions of x_{t-1} are refused where the sampler falls between timesteps") {
  const Scheduler<float> scheduler({.prediction = Prediction::x_prev});
  const auto check = [&](const SampleOptions& options) {
    return check_sampling(Gaussian<float>{scheduler}, scheduler, options);
  };
  CHECK_NOTHROW(check({.sampler = Sampler::ddim, .steps = 40}));
  CHECK_NOTHROW(check({.sampler = Sampler::pndm, .steps = 50}));
  CHECK_THROWS_AS(check({.sampler = Sampler::pndm, .steps = 40}), PreconditionError);
  CHECK_THROWS_AS(check({.sampler = Sampler::ddim, .steps = 40, .spacing = Spacing::karras}),
                  PreconditionError);
  CHECK_THROWS_AS(check({.sampler = Sampler::euler, .steps = 40, .spacing = Spacing::exponential}),
                  PreconditionError);
}

TEST_CASE("range: upwards from a clean image, where the prediction tells the noise") {
  const auto upwards = [](Prediction prediction) {
    const Scheduler<double> scheduler({.prediction = prediction, .clip_sample = false});
    std::vector<NoiseLevel> levels{NoiseLevel::clean()};
    for (const double t : {0.0, 100.0, 400.0, 999.0}) levels.push_back(scheduler.level(t));
    const Tensor<double> x({1, 1, 2, 1}, {0.3, -0.6});
    return solve(Ddim<double>(), Gaussian<double>{scheduler}, scheduler, levels, x,
                 [] { return Tensor<double>(); });
  };
  const auto by_noise = upwards(Prediction::epsilon), by_v = upwards(Prediction::v);
  for (Index i = 0; i < 2; ++i) {
    CHECK(std::isfinite(by_noise[i]));
    CHECK(by_v[i] == doctest::Approx(by_noise[i]).epsilon(1e-3));
  }
  CHECK(contains(error_of<PreconditionError>([&] { upwards(Prediction::x_0); }),
                 "at a clean image a prediction of x_0"));
  CHECK_THROWS_AS(upwards(Prediction::x_prev), PreconditionError);
}

TEST_CASE("range: alpha_cumprod beyond the table is an error") {
  const Scheduler<float> scheduler({.timesteps = 10});
  CHECK(scheduler.alpha_cumprod(-1) == 1);
  CHECK_NOTHROW(scheduler.alpha_cumprod(9));
  CHECK_THROWS_AS(scheduler.alpha_cumprod(10), PreconditionError);
  CHECK_THROWS_AS(scheduler.alpha_cumprod(-2), PreconditionError);
}
