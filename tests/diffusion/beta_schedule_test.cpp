#include "ddpm/diffusion/beta_schedule.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/scheduler.hpp"

using namespace test;

namespace {

double last_abar(const SchedulerConfig& config) {
  return Scheduler<double>(config).alphas_cumprod().back();
}

}  // namespace

TEST_CASE("beta schedules: the formulas of the paper's code") {
  const auto quadratic = make_betas(BetaSchedule::quadratic, 1000);
  CHECK(quadratic[0] == doctest::Approx(1e-4));
  CHECK(quadratic[999] == doctest::Approx(0.02));
  CHECK(std::sqrt(quadratic[500]) == doctest::Approx(0.01 + (std::sqrt(0.02) - 0.01) * 500 / 999));
  CHECK(make_betas(BetaSchedule::constant, 7) == std::vector<double>(7, 0.02));
  const auto warm = make_betas(BetaSchedule::warmup10, 1000);
  CHECK(warm[0] == doctest::Approx(1e-4));
  CHECK(warm[50] == doctest::Approx(1e-4 + (0.02 - 1e-4) * 50 / 99));
  CHECK(warm[99] == doctest::Approx(0.02));
  CHECK(warm[100] == 0.02);
  CHECK(make_betas(BetaSchedule::warmup50, 1000)[499] == doctest::Approx(0.02));
  CHECK(make_betas(BetaSchedule::warmup50, 1000)[250] < 0.0101);
  const auto jsd = make_betas(BetaSchedule::jsd, 1000);
  CHECK(jsd[0] == doctest::Approx(0.001));
  CHECK(jsd[500] == doctest::Approx(1.0 / 500));
  CHECK(jsd[999] == 1);
}

TEST_CASE("beta schedules: cosine and sigmoid by their abar") {
  const Scheduler<double> cosine({.schedule = BetaSchedule::cosine});
  const auto f = [](double s) {
    const double c = std::cos((s + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  CHECK(cosine.alpha_cumprod(499) == doctest::Approx(f(0.5) / f(0)).epsilon(1e-10));
  CHECK(cosine.betas()[0] == doctest::Approx(4.128422482e-5).epsilon(1e-6));
  CHECK(cosine.betas()[999] == 0.999);
  const Scheduler<double> sigmoid({.schedule = BetaSchedule::sigmoid});
  CHECK(sigmoid.alpha_cumprod(499) == doctest::Approx(0.5).epsilon(1e-9));
  CHECK(sigmoid.betas()[999] == 0.999);
}

TEST_CASE("beta schedules [NU-2]: every one gives a usable table, for any number of timesteps") {
  for (const auto schedule : {BetaSchedule::linear, BetaSchedule::quadratic, BetaSchedule::constant,
                              BetaSchedule::warmup10, BetaSchedule::warmup50, BetaSchedule::jsd,
                              BetaSchedule::cosine, BetaSchedule::sigmoid})
    for (const Index T : {1, 2, 10, 100, 1000, 4000}) {
      CAPTURE(int(schedule));
      CAPTURE(T);
      const Scheduler<double> scheduler({.timesteps = T, .schedule = schedule});
      for (Index t = 0; t < T; ++t) {
        CHECK(scheduler.betas()[std::size_t(t)] > 0);
        CHECK(std::isfinite(scheduler.log_variance(t)));
        const auto mean = scheduler.posterior(t, t - 1);
        CHECK((std::isfinite(mean.mean_of_x_0()) && std::isfinite(mean.mean_of_x_t())));
      }
    }
}

TEST_CASE("beta schedules: a scaled range ends in as much noise for any T") {
  const double full = last_abar({});
  CHECK(full == doctest::Approx(4.0358e-5).epsilon(1e-4));
  // To first order in beta; the second adds -sum beta^2 / 2, which grows as 1 / T.
  CHECK(std::log(last_abar({.timesteps = 4000})) / std::log(full) ==
        doctest::Approx(1).epsilon(0.01));
  CHECK(std::log(last_abar({.timesteps = 200})) / std::log(full) ==
        doctest::Approx(1).epsilon(0.05));
  CHECK(last_abar({.timesteps = 100, .scale_range = false}) > 0.35);
}

TEST_CASE("beta schedules: rescaled to no signal at the end (Lin et al. 2023, algorithm 1)") {
  const Scheduler<double> plain, dark({.zero_terminal_snr = true});
  CHECK(dark.alphas_cumprod().back() == 0);
  CHECK(dark.alpha_cumprod(0) == doctest::Approx(plain.alpha_cumprod(0)).epsilon(1e-14));
  // Roots of abar are shifted by the last and scaled to the first.
  const auto root = [](const Scheduler<double>& s, Index t) {
    return std::sqrt(s.alpha_cumprod(t));
  };
  const double last = root(plain, 999), first = root(plain, 0);
  CHECK(root(dark, 500) ==
        doctest::Approx((root(plain, 500) - last) * first / (first - last)).epsilon(1e-12));
}

TEST_CASE("beta schedules: bad input is named") {
  const auto error = [](const SchedulerConfig& config) {
    return error_of<PreconditionError>([&] { Scheduler<float> scheduler(config); });
  };
  CHECK(contains(error({.timesteps = 3, .schedule = BetaSchedule::custom, .betas = {0.1, 0.2}}),
                 "2 custom betas for 3 timesteps"));
  CHECK(contains(error({.timesteps = 2, .schedule = BetaSchedule::custom, .betas = {0.1, -0.2}}),
                 "beta of timestep 1 is -0.2"));
  CHECK(contains(error({.timesteps = 2, .schedule = BetaSchedule::custom, .betas = {1, 0.2}}),
                 "alphas_cumprod of timestep 0 is 0"));
  CHECK(contains(error({.timesteps = 2, .schedule = BetaSchedule::custom, .betas = {1e-20, 0.2}}),
                 "expected to fall"));
  CHECK_THROWS_AS(make_betas(BetaSchedule::custom, 5), PreconditionError);
  CHECK_THROWS_AS(Scheduler<float>({.threshold_quantile = 0}), PreconditionError);
}
