// The samplers against published numbers, and against data whose best denoiser is known.
#include "ddpm/diffusion/sample.hpp"

#include <fstream>
#include <sstream>

#include "../support.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

/// Calls f(sampler) for every one of the table.
template <class F>
void for_each_sampler(const F& f) {
  for (const std::string_view name : enum_names<Sampler>) {
    CAPTURE(name);
    f(value_of<Sampler>(name).value());
  }
}

/// The best denoiser of N(mean, deviation^2) in each value.
struct Gaussian {
  const Scheduler<double>& scheduler;
  double mean = 0.3, deviation = 0.5;

  double spread(const NoiseLevel& l) const {
    return std::sqrt(l.abar * deviation * deviation + 1 - l.abar);
  }
  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const NoiseLevel l = scheduler.level(t[0]);
    const Tensor<double> eps = x.value().clone();
    const double factor = l.sigma() / (spread(l) * spread(l));
    for (double& v : eps) v = factor * (v - l.alpha() * mean);
    return Variable<double>(eps);
  }
  Shape sample_shape(Index count) const { return {count, 4, 4, 1}; }

  double best_x_0(double x, const NoiseLevel& l) const {
    return mean +
           l.alpha() * deviation * deviation / (spread(l) * spread(l)) * (x - l.alpha() * mean);
  }
  /// The exact solution of the probability-flow ODE.
  double solution(double x, const NoiseLevel& from, const NoiseLevel& to) const {
    return to.alpha() * mean + spread(to) / spread(from) * (x - from.alpha() * mean);
  }
};

/// n steps of one length in lambda, from almost pure noise to half as much noise as signal. (For
/// this data the third order's leading errors add up to zero where the two are equal, and at the
/// far end.)
std::vector<NoiseLevel> even_in_lambda(Index n) {
  std::vector<NoiseLevel> levels;
  for (Index i = 0; i <= n; ++i)
    levels.push_back(unclipped().level_of_ratio(100 * std::pow(0.005, double(i) / double(n))));
  return levels;
}

/// n steps of one length in t, from 999 to 199.
std::vector<NoiseLevel> even_in_t(Index n) {
  std::vector<NoiseLevel> levels;
  for (Index i = 0; i <= n; ++i)
    levels.push_back(unclipped().level(999 - 800 * double(i) / double(n)));
  return levels;
}

/// log2 of the error's ratio when n steps become 2 n.
template <class MakeSolver, class Levels>
double convergence_order(const MakeSolver& make_solver, const Levels& levels_of, Index n) {
  const Gaussian data{unclipped()};
  const auto error = [&](Index steps) {
    const auto levels = levels_of(steps);
    const Tensor<double> start({1, 1, 1, 2}, {1.7, -0.4});
    const auto solver = make_solver(start, levels);
    const auto x = solve(solver, data, unclipped(), levels, start, no_noise, ignore);
    return std::abs(x[0] - data.solution(start[0], levels.front(), levels.back())) +
           std::abs(x[1] - data.solution(start[1], levels.front(), levels.back()));
  };
  return std::log2(error(n) / error(2 * n));
}

/// 3M with a history from the exact solution: its own first steps are of lower order.
DpmSolverMultistep<double> started_3m(const Tensor<double>& start,
                                      const std::vector<NoiseLevel>& levels) {
  const Gaussian data{unclipped()};
  DpmSolverMultistep<double> solver({.order = 3});
  const double step = levels[0].ratio() / levels[1].ratio();
  for (const int back : {2, 1}) {
    const double ratio = levels[0].ratio() * std::pow(step, double(back));
    const NoiseLevel before{0, 1 / (1 + ratio * ratio)};
    Tensor<double> x_0(start.shape());
    for (Index i = 0; i < x_0.size(); ++i)
      x_0[i] = data.best_x_0(data.solution(start[i], levels[0], before), before);
    solver.remember(x_0, before);
  }
  return solver;
}

}  // namespace

TEST_CASE("samplers: orders of convergence on a Gaussian, within 0.2 of the theory") {
  const auto order = [](const auto& solver, Index n = 80) {
    return convergence_order([&](const auto&, const auto&) { return solver; }, even_in_lambda, n);
  };
  CHECK(std::abs(order(Ddim<double>{}) - 1) < 0.2);
  CHECK(std::abs(order(Euler<double>{}) - 1) < 0.2);
  CHECK(std::abs(order(Heun<double>{}) - 2) < 0.2);
  CHECK(std::abs(order(DpmSolverMultistep<double>({.order = 1})) - 1) < 0.2);
  CHECK(std::abs(order(DpmSolverMultistep<double>({.order = 2})) - 2) < 0.2);
  CHECK(std::abs(convergence_order(started_3m, even_in_lambda, 80) - 3) < 0.2);
  CHECK(std::abs(order(DpmSolverSinglestep<double>{}) - 2) < 0.2);
  // Its error changes sign between 20 and 80 steps.
  CHECK(std::abs(order(UniPc<double>({.lower_order_final = false}), 500) - 3) < 0.2);
  // The multistep formula holds for steps of one length in t.
  const auto pndm = [](const auto&, const auto&) { return Pndm<double>{}; };
  CHECK(std::abs(convergence_order(pndm, even_in_t, 100) - 2) < 0.2);
}

TEST_CASE("samplers: every one gives a Gaussian back, mean and deviation") {
  const Scheduler<double> scheduler({.clip_sample = false});
  const Gaussian data{scheduler};
  for_each_sampler([&](Sampler sampler) {
    const auto samples =
        sample(data, scheduler,
               {.count = 2000, .seed = 1, .batch_size = 2000, .sampler = sampler, .steps = 100});
    double mean = 0, square = 0;
    for (const double v : samples) {
      mean += v / double(samples.size());
      square += v * v / double(samples.size());
    }
    CHECK(std::abs(mean - 0.3) < 0.01);  // five standard errors are 0.014
    CHECK(std::sqrt(square - mean * mean) == doctest::Approx(0.5).epsilon(0.04));
  });
}

namespace {

/// Three Gaussians in the plane, of deviation 0.1, and their best denoiser.
struct Mixture {
  static constexpr double centres[3][2] = {{0.8, 0.0}, {-0.4, 0.7}, {-0.4, -0.7}}, deviation = 0.1;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const NoiseLevel l = unclipped().level(t[0]);
    const double variance = l.abar * deviation * deviation + 1 - l.abar;
    const Tensor<double> eps = x.value().clone();
    for (Index n = 0; n < eps.dim(0); ++n) {
      double* at = eps.data() + 2 * n;
      double weight[3], total = 0, mean[2] = {0, 0};
      const auto square = [](double v) { return v * v; };
      for (int k = 0; k < 3; ++k) {
        const double distance =
            square(at[0] - l.alpha() * centres[k][0]) + square(at[1] - l.alpha() * centres[k][1]);
        total += weight[k] = std::exp(-distance / (2 * variance));
      }
      for (int k = 0; k < 3; ++k)
        for (int c = 0; c < 2; ++c) mean[c] += weight[k] / total * l.alpha() * centres[k][c];
      for (int c = 0; c < 2; ++c) at[c] = l.sigma() / variance * (at[c] - mean[c]);
    }
    return Variable<double>(eps);
  }
  Shape sample_shape(Index count) const { return {count, 1, 1, 2}; }

  static Tensor<double> exact(Index count, std::uint64_t seed) {
    Rng rng(seed);
    Tensor<double> x({count, 1, 1, 2});
    for (Index n = 0; n < count; ++n) {
      const Index k = rng.below(3);
      for (Index c = 0; c < 2; ++c) x[2 * n + c] = centres[k][c] + deviation * rng.normal();
    }
    return x;
  }
};

/// The mean over 32 directions of the distance between the sorted projections.
double sliced_wasserstein(const Tensor<double>& a, const Tensor<double>& b) {
  double sum = 0;
  for (int direction = 0; direction < 32; ++direction) {
    const double angle = std::numbers::pi * direction / 32;
    const auto project = [&](const Tensor<double>& x) {
      std::vector<double> values;
      for (Index n = 0; n < x.dim(0); ++n)
        values.push_back(std::cos(angle) * x[2 * n] + std::sin(angle) * x[2 * n + 1]);
      std::sort(values.begin(), values.end());
      return values;
    };
    const auto p = project(a), q = project(b);
    for (std::size_t i = 0; i < p.size(); ++i) sum += std::abs(p[i] - q[i]) / double(p.size()) / 32;
  }
  return sum;
}

}  // namespace

TEST_CASE("samplers: every one gives a mixture of Gaussians back, by sliced Wasserstein distance") {
  const auto truth = Mixture::exact(4000, 1);
  const double among_themselves = sliced_wasserstein(truth, Mixture::exact(4000, 2));
  for_each_sampler([&](Sampler sampler) {
    const auto samples =
        sample(Mixture(), unclipped(),
               {.count = 4000, .seed = 3, .batch_size = 4000, .sampler = sampler, .steps = 100});
    const double distance = sliced_wasserstein(samples, truth);
    CAPTURE(among_themselves);
    CHECK(distance < among_themselves + 0.02);  // of a data set 1.2 wide
  });
}

TEST_CASE("samplers: DDIM runs backwards to the noise it came from") {
  const Scheduler<double> scheduler({.clip_sample = false});
  const Gaussian data{scheduler};
  auto levels = noise_levels(scheduler, 400, Spacing::exponential, FinalLevel::sigma_min);
  const Tensor<double> start({1, 1, 1, 2}, {1.7, -0.4});
  const auto x = solve(Ddim<double>{}, data, scheduler, levels, start, no_noise, ignore);
  std::reverse(levels.begin(), levels.end());
  const auto back = solve(Ddim<double>{}, data, scheduler, levels, x, no_noise, ignore);
  CHECK(std::abs(back[0] - start[0]) + std::abs(back[1] - start[1]) < 0.05);
}

TEST_CASE("samplers: with eta 1, DDIM over all timesteps is ancestral sampling") {
  const Scheduler<double> scheduler({.timesteps = 50, .clip_sample = false});
  const Gaussian data{scheduler};
  const auto ancestral = sample(data, scheduler, {.count = 3, .seed = 5});
  const auto ddim =
      sample(data, scheduler, {.count = 3, .seed = 5, .sampler = Sampler::ddim, .eta = 1});
  CHECK(relative_difference<double>(ancestral, ddim) < 1e-10);
}

TEST_CASE("samplers: shared noise makes every sample the first") {
  const Gaussian data{unclipped()};
  const SampleOptions options{
      .count = 3, .seed = 5, .batch_size = 2, .steps = 10, .shared_noise = true};
  const auto all = sample(data, unclipped(), options);
  const auto first = sample(data, unclipped(), {.count = 1, .seed = 5, .steps = 10});
  for (Index n = 0; n < 3; ++n)
    for (Index i = 0; i < first.size(); ++i) CHECK(all[n * first.size() + i] == first[i]);
}

TEST_CASE("samplers: spacings of timesteps, and of ratios") {
  using V = std::vector<Index>;
  CHECK(spaced_timesteps(1000, 4, Spacing::leading) == V{750, 500, 250, 0});
  CHECK(spaced_timesteps(1000, 4, Spacing::linspace) == V{999, 666, 333, 0});
  CHECK(spaced_timesteps(1000, 4, Spacing::trailing) == V{999, 749, 499, 249});
  CHECK(spaced_timesteps(5, 5, Spacing::trailing) == V{4, 3, 2, 1, 0});
  CHECK(spaced_timesteps(7, 1, Spacing::linspace) == V{6});
  const Scheduler<double> scheduler;
  for (const Spacing spacing : {Spacing::karras, Spacing::exponential}) {
    const auto levels = noise_levels(scheduler, 10, spacing);
    REQUIRE(levels.size() == 11);
    CHECK(levels.front().ratio() == doctest::Approx(scheduler.level(999).ratio()));
    CHECK(levels[9].ratio() == doctest::Approx(scheduler.level(0).ratio()));
    CHECK(levels.back().abar == 1);
    for (std::size_t i = 1; i < 10; ++i) {
      CHECK(levels[i].t < levels[i - 1].t);
      CHECK(scheduler.level(levels[i].t).abar == doctest::Approx(levels[i].abar).epsilon(1e-10));
    }
  }
  const auto karras = noise_levels(scheduler, 10, Spacing::karras);
  const double most = std::pow(karras[0].ratio(), 1.0 / 7),
               least = std::pow(karras[9].ratio(), 1.0 / 7);
  CHECK(std::pow(karras[3].ratio(), 1.0 / 7) ==
        doctest::Approx(most + (least - most) * 3 / 9).epsilon(1e-10));
}

TEST_CASE("samplers: bad input is named") {
  const Scheduler<double> scheduler;
  const auto levels = [&](const std::vector<double>& t) {
    return error_of<PreconditionError>([&] { noise_levels(scheduler, t); });
  };
  CHECK(contains(levels({}), "no timesteps"));
  CHECK(contains(levels({500, 500}), "timestep 500 after 500"));
  CHECK(contains(levels({100, 500}), "timestep 500 after 100"));
  CHECK(contains(levels({1000}), "timestep 1000, expected 0 to 999"));
  CHECK(contains(levels({-1}), "timestep -1"));
  CHECK(contains(
      error_of<PreconditionError>([&] { noise_levels(scheduler, 1001, Spacing::trailing); }),
      "1001 steps of 1000 timesteps"));
  const Gaussian data{scheduler};
  CHECK_THROWS_AS(sample(data, scheduler, {.sampler = Sampler::ddim, .eta = 2}), PreconditionError);
  const Scheduler<double> dark({.zero_terminal_snr = true, .prediction = Prediction::v});
  CHECK(contains(error_of<PreconditionError>(
                     [&] { sample(data, dark, {.sampler = Sampler::dpm_solver_2m, .steps = 10}); }),
                 "no signal is left at timestep 999"));
}

TEST_CASE("samplers: the table in the documents is the table of the code") {
  std::stringstream page;
  page << std::ifstream(DDPM_DOCS "/samplers.md").rdbuf();
  const auto cell = [](std::string_view text) {
    return message(text.empty() ? "" : " ", text, " |");
  };
  for_each_sampler([&](Sampler sampler) {
    const SamplerFacts facts = facts_of(sampler);
    const std::string row =
        message("|", cell(name_of(sampler)), cell(facts.source), cell(facts.order),
                cell(facts.evaluations), cell(facts.noise), "\n");
    CAPTURE(row);
    CHECK(contains(page.str(), row));
  });
}
