// The samplers against the numbers of diffusers' own scheduler tests: their fixture, their model
// x t / (t + 1), their levels. Each number is published to three or four digits (the comment); what
// is compared is the same loop in double. diffusers' tables are in float32.
#include "../support.hpp"
#include "ddpm/autograd/ops/arithmetic.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

struct Toy {
  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    return (t[0] / (t[0] + 1)) * x;
  }
};

double sum_of_magnitudes(const Tensor<double>& x) {
  double sum = 0;
  for (const double v : x) sum += std::abs(v);
  return sum;
}

Scheduler<double> clipped(Prediction prediction = Prediction::epsilon, double beta_start = 1e-4) {
  return Scheduler<double>({.beta_start = beta_start, .prediction = prediction});
}
Scheduler<double> unclipped(Prediction prediction) {
  return Scheduler<double>({.prediction = prediction, .clip_sample = false});
}

using Levels = std::vector<NoiseLevel>;
const NoiseLevel clean{0, 1};

NoiseLevel of_ratio(double t, double ratio) { return {t, 1 / (1 + ratio * ratio)}; }

/// The levels of timesteps, and a last one.
Levels levels_of(const Scheduler<double>& scheduler, const std::vector<double>& timesteps,
                 const NoiseLevel& last) {
  Levels levels;
  for (const double t : timesteps) levels.push_back(scheduler.level(t));
  levels.push_back(last);
  return levels;
}

/// count timesteps from `first` down, `by` apart.
std::vector<double> down_from(double first, double by, int count) {
  std::vector<double> timesteps;
  for (int i = 0; i < count; ++i) timesteps.push_back(first - by * i);
  return timesteps;
}

/// linspace(0, 999, 11), rounded to even, without 0: what diffusers' exponential integrators visit.
const std::vector<double> ten{999, 899, 799, 699, 599, 500, 400, 300, 200, 100};
/// Ten ratios spaced as in Karras et al. 2022, as timesteps, rounded.
const std::vector<double> ten_karras{999, 937, 864, 775, 663, 511, 301, 102, 18, 0};

/// The run over levels from the fixture, or from it with the reversed fixture as noise.
template <class Solver>
double run(const Solver& solver, const Scheduler<double>& scheduler, const Levels& levels,
           bool noisy = false) {
  Tensor<double> x = scheduler_fixture();
  if (noisy)
    x = scheduler.add_noise(x, scheduler_fixture(true), static_cast<Index>(levels.front().t));
  return sum_of_magnitudes(solve(solver, Toy(), scheduler, levels, x, no_noise, ignore));
}

/// PyTorch's normal numbers from its generator's seed 0, shaped as the fixture.
NoiseSource<double> torch_noise() {
  return [shape = scheduler_fixture().shape(), generator = TorchGenerator(0)]() mutable {
    return generator.normal<double>(shape);
  };
}

auto near(double value) { return doctest::Approx(value).epsilon(2e-9); }

}  // namespace

TEST_CASE("published: DDPM, all timesteps, PyTorch's noise of seed 0") {
  const auto run_ddpm = [](const Scheduler<double>& scheduler) {
    const auto levels = noise_levels(scheduler, 1000, Spacing::trailing);
    return sum_of_magnitudes(solve(Ancestral<double>{}, Toy(), scheduler, levels,
                                   scheduler_fixture(), torch_noise(), ignore));
  };
  CHECK(run_ddpm(clipped()) == near(258.9590567));               // 258.9606
  CHECK(run_ddpm(clipped(Prediction::v)) == near(202.0282645));  // 202.0296
}

TEST_CASE("published: DDIM") {
  const auto tens = down_from(900, 100, 10);
  const auto plain = clipped();
  CHECK(run(Ddim<double>{}, plain, levels_of(plain, tens, clean)) ==
        near(172.0065222));  // 172.0067
  const auto v = clipped(Prediction::v);
  CHECK(run(Ddim<double>{}, v, levels_of(v, tens, clean)) == near(52.53012385));  // 52.5302
  // Betas from 0.01, to the clean image or to the least noise, which the step before reached.
  const auto steep = clipped(Prediction::epsilon, 0.01);
  CHECK(run(Ddim<double>{}, steep, levels_of(steep, tens, clean)) ==
        near(149.8294595));  // 149.8295
  CHECK(run(Ddim<double>{}, steep, levels_of(steep, tens, steep.level(0))) ==
        near(149.0784299));  // 149.0784
  CHECK(run(Ddim<double>{}, plain, levels_of(plain, {100, 0}, clean), true) ==
        near(354.5415012));  // 354.5418
}

TEST_CASE("DDIM: with the noise of the clipped x_0 it is DPM-Solver++ of first order") {
  const auto v = clipped(Prediction::v);
  const auto levels = levels_of(v, down_from(900, 100, 9), v.level(50));
  const Tensor<double> start = scheduler_fixture();
  for (double& value : start) value *= 5;  // so that the clip matters
  const auto run_from_start = [&](const auto& solver) {
    return sum_of_magnitudes(solve(solver, Toy(), v, levels, start, no_noise, ignore));
  };
  const double ddim = run_from_start(Ddim<double>({.clip_noise = true}));
  CHECK(ddim == near(run_from_start(DpmSolverMultistep<double>({.order = 1}))));
  CHECK(std::abs(ddim - run_from_start(Ddim<double>{})) > 1);
}

TEST_CASE("published: DPM-Solver++, multistep") {
  const DpmSolverMultistep<double> solver({.lower_order_final = false});
  const auto eps = unclipped(), v = unclipped(Prediction::v);
  const NoiseLevel least = eps.level(0);
  CHECK(run(solver, eps, levels_of(eps, ten, least)) / 768 == near(0.3301469779));     // 0.3301
  CHECK(run(solver, v, levels_of(v, ten, least)) / 768 == near(0.2250993494));         // 0.2251
  CHECK(run(solver, v, levels_of(v, ten_karras, least)) / 768 == near(0.2096476550));  // 0.2096
  CHECK(run(solver, eps, levels_of(eps, {500, 400, 300, 200, 100}, least), true) ==
        near(318.4129811));  // 318.4111
  // Even steps of the log of the ratio, which is the log signal-to-noise ratio; t is rounded.
  const std::vector<double> t{999, 886, 757, 603, 410, 202, 73, 22, 5, 0};
  Levels even;
  const double most = v.level(999).ratio();
  for (std::size_t i = 0; i < 10; ++i)
    even.push_back(of_ratio(t[i], most * std::pow(least.ratio() / most, double(i) / 9)));
  even.push_back(least);
  CHECK(run(solver, v, even) / 768 == near(0.1554234877));  // 0.1554
}

TEST_CASE("published: DPM-Solver++, single-step") {
  const auto eps = unclipped(), v = unclipped(Prediction::v);
  const NoiseLevel least = eps.level(0);
  const DpmSolverSinglestep<double> solver;
  CHECK(run(solver, eps, levels_of(eps, ten, least)) / 768 == near(0.2791172291));  // 0.2791
  CHECK(run(solver, v, levels_of(v, ten, least)) / 768 == near(0.1453118108));      // 0.1453
}

TEST_CASE("published: UniPC") {
  const UniPc<double> solver;
  const auto eps = unclipped(), v = unclipped(Prediction::v);
  const NoiseLevel least = eps.level(0);
  CHECK(run(solver, eps, levels_of(eps, ten, least)) / 768 == near(0.2463953817));  // 0.2464
  CHECK(run(solver, v, levels_of(v, ten, least)) / 768 == near(0.1013963797));      // 0.1014
  CHECK(run(solver, eps, levels_of(eps, {200, 100}, least), true) ==
        near(315.5753265));  // 315.5757
}

TEST_CASE("published: PNDM") {
  const auto plain = unclipped();
  const Scheduler<double> steep({.beta_start = 0.01, .clip_sample = false});
  // From t = 0 to abar_0 nothing moves: nine steps of the published ten.
  CHECK(run(Pndm<double>{}, plain, levels_of(plain, down_from(900, 100, 9), plain.level(0))) ==
        near(198.1317394));  // 198.1318
  CHECK(run(Pndm<double>{}, steep, levels_of(steep, down_from(900, 100, 9), steep.level(0))) ==
        near(186.9448239));  // 186.9482
  CHECK(run(Pndm<double>{}, steep, levels_of(steep, down_from(900, 100, 10), clean)) ==
        near(230.0369233));  // 230.0399
}

namespace {

/// The loops of Euler's and Heun's tests pass the sample that was scaled for the model on to the
/// step: at each one it shrinks by alpha once more. `calls` of the model a step; only the first
/// sees what it shrank from.
struct ScaledToy {
  int calls;
  double alpha;
  mutable int made = 0;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t) const {
    const bool first = made++ % calls == 0;
    return Toy()(first ? (1 / alpha) * x : x, t);
  }
};

template <class Solver, class Noise>
double run_scaled(const Solver& solver, const Levels& levels, const Tensor<double>& start,
                  int calls, const Noise& noise) {
  Tensor<double> x = start.clone();
  static const Scheduler<double> scheduler(
      {.timesteps = 1100, .scale_range = false, .clip_sample = false});
  for (double& v : x) v *= levels[0].alpha();
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    for (double& v : x) v *= levels[i].alpha();
    const ScaledToy model{calls, levels[i].alpha()};
    x = solve(solver, model, scheduler, std::span(levels).subspan(i, 2), x, noise, ignore);
  }
  return sum_of_magnitudes(x);
}

}  // namespace

TEST_CASE("published: Euler, Heun and Euler ancestral, whose loops pass the scaled sample on") {
  const Scheduler<double> scheduler(
      {.timesteps = 1100, .scale_range = false, .clip_sample = false});
  const Levels even = levels_of(scheduler, down_from(1099, 1099.0 / 9, 9), scheduler.level(0));
  Levels ten_levels = even;
  ten_levels.push_back(clean);
  const double most = even.front().ratio(), least = even.back().ratio();
  // Spaced as in Karras et al. 2022, t by the log of the ratio between those of the table.
  const std::vector<double> t{1099,        1035.5398087, 961.0525563, 871.0990292, 757.8331091,
                              605.7796717, 387.2904939,  139.5330108, 23.5352085,  0};
  Levels karras;
  for (std::size_t i = 0; i < 10; ++i) {
    const double root = std::pow(most, 1.0 / 7) +
                        double(i) / 9 * (std::pow(least, 1.0 / 7) - std::pow(most, 1.0 / 7));
    karras.push_back(of_ratio(t[i], std::pow(root, 7)));
  }
  karras.push_back(clean);
  const Levels two(ten_levels.end() - 3, ten_levels.end());
  const Tensor<double> start = scheduler_fixture(), noisy = scheduler_fixture(),
                       noise = scheduler_fixture(true);
  for (double& v : start) v *= most;
  for (Index i = 0; i < noisy.size(); ++i)
    noisy[i] = noisy[i] * most + two.front().ratio() * noise[i];

  const Euler<double> euler;
  CHECK(run_scaled(euler, ten_levels, start, 1, no_noise) == near(10.08066808));  // 10.0807
  CHECK(run_scaled(euler, karras, start, 1, no_noise) == near(124.5178100));      // 124.5230
  CHECK(run_scaled(euler, two, noisy, 1, no_noise) == near(57062.85802));         // 57062.9297
  const Heun<double> heun;
  CHECK(run_scaled(heun, ten_levels, start, 2, no_noise) == near(0.1233307480));  // 0.1233
  CHECK(run_scaled(heun, karras, start, 2, no_noise) == near(0.0001524600376));   // 0.00015
  CHECK(run_scaled(heun, two, noisy, 2, no_noise) == near(75074.86536));          // 75074.8906
  const EulerAncestral<double> ancestral;
  CHECK(run_scaled(ancestral, ten_levels, start, 1, torch_noise()) ==
        near(152.3192743));                                                         // 152.3192
  CHECK(run_scaled(ancestral, two, noisy, 1, torch_noise()) == near(56163.05848));  // 56163.0508
}
