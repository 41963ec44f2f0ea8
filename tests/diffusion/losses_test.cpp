#include "ddpm/diffusion/losses.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/timestep_sampler.hpp"

using namespace test;

namespace {

/// A network whose output is a parameter, whatever it is asked.
struct Constant {
  Variable<double> output;
  Variable<double> operator()(const Variable<double>&, std::span<const double>,
                              std::span<const Index>, Rng*) const {
    return output;
  }
};

const std::vector<Index> two_times{0, 500};

Variable<double> losses_of(const Constant& network, const SchedulerConfig& config,
                           const LossOptions& options, const std::vector<Index>& t = two_times) {
  const Scheduler<double> scheduler(config);
  const auto x_0 = random_tensor<double>({2, 3, 3, 2}, 1);
  for (double& v : x_0) v = std::tanh(v);
  const auto noise = random_tensor<double>(x_0.shape(), 2);
  return training_losses(network, scheduler, x_0, noise, t, {}, nullptr, options);
}

}  // namespace

TEST_CASE("losses: the bound's term is the weighted mse of equation 12, for the noise") {
  // KL with the true variance: beta^2 / (2 sigma^2 alpha (1 - abar)) |eps - network|^2.
  const Constant network{random_parameter({2, 3, 3, 2}, 3)};
  const Scheduler<double> scheduler;
  const std::vector<Index> t{1, 700};
  const auto mse = losses_of(network, {}, {}, t).value();
  const auto kl = losses_of(network, {}, {.loss = Loss::kl}, t).value();
  for (Index n = 0; n < 2; ++n) {
    const Index at = t[std::size_t(n)];
    const double beta = scheduler.betas()[std::size_t(at)];
    const double weight =
        beta * beta / (2 * scheduler.variance(at) * (1 - beta) * (1 - scheduler.alpha_cumprod(at)));
    CHECK(kl[n] == doctest::Approx(1000 * weight * mse[n] / std::log(2.0)).epsilon(1e-9));
  }
}

TEST_CASE("losses: every prediction of one truth has the same bound") {
  const Scheduler<double> scheduler;
  const auto x_0 = random_tensor<double>({2, 3, 3, 2}, 1),
             eps = random_tensor<double>({2, 3, 3, 2}, 2),
             wrong = random_tensor<double>({2, 3, 3, 2}, 3);
  const std::vector<Index> t{600, 600};
  const auto x_t = scheduler.add_noise(x_0, eps, t);
  const auto term = [&](Prediction kind) {
    const Scheduler<double> other({.prediction = kind});
    const auto output = other.convert(wrong, Prediction::epsilon, kind, 600, x_t);
    return bound_terms(other, Variable<double>(output), x_0, x_t, t).value()[1];
  };
  for (const auto kind : {Prediction::x_0, Prediction::x_prev, Prediction::v})
    CHECK(term(kind) == doctest::Approx(term(Prediction::epsilon)).epsilon(1e-9));
}

TEST_CASE("losses: hybrid is mse for the mean and the bound for the variance") {
  const Constant network{random_parameter({2, 3, 3, 4}, 3)};
  const SchedulerConfig config{.variance = Variance::learned_range};
  const auto hybrid = losses_of(network, config, {.loss = Loss::hybrid});
  const auto kl = losses_of(network, config, {.loss = Loss::kl});
  const Constant mean{first_channels(network.output, 2)};
  const auto mse = losses_of(mean, {}, {});
  for (Index n = 0; n < 2; ++n)
    CHECK(hybrid.value()[n] == doctest::Approx(mse.value()[n] + 1e-3 * kl.value()[n]));
  const Tensor<double> ones({2}, 1.0);
  const auto gradient = [&](const Variable<double>& losses) {
    network.output.zero_grad();
    losses.backward(ones);
    return network.output.grad().clone();
  };
  const auto of_hybrid = gradient(hybrid), of_kl = gradient(kl), of_mse = gradient(mse);
  for (Index p = 0; p < 18; ++p)
    for (Index c = 0; c < 2; ++c) {
      CHECK(of_hybrid[4 * p + c] == doctest::Approx(of_mse[4 * p + c]));
      CHECK(of_hybrid[4 * p + 2 + c] == doctest::Approx(1e-3 * of_kl[4 * p + 2 + c]));
    }
}

TEST_CASE("losses: min-SNR weights") {
  const NoiseLevel clear{0, 0.9}, dark{0, 0.2};  // signal to noise 9 and 1/4
  CHECK(min_snr_weight(Prediction::x_0, clear, 5) == 5);
  CHECK(min_snr_weight(Prediction::x_0, dark, 5) == doctest::Approx(0.25));
  CHECK(min_snr_weight(Prediction::epsilon, clear, 5) == doctest::Approx(5.0 / 9));
  CHECK(min_snr_weight(Prediction::epsilon, dark, 5) == 1);
  CHECK(min_snr_weight(Prediction::v, clear, 5) == doctest::Approx(0.5));
  CHECK(min_snr_weight(Prediction::v, dark, 5) == doctest::Approx(0.2));
  CHECK_THROWS_AS(min_snr_weight(Prediction::x_prev, dark, 5), PreconditionError);
  // Weighted, the losses of one guess agree, whatever it is called.
  const auto x_0 = random_tensor<double>({1, 3, 3, 2}, 1),
             eps = random_tensor<double>({1, 3, 3, 2}, 2),
             guess = random_tensor<double>({1, 3, 3, 2}, 3);
  const std::vector<Index> t{300};
  const auto loss_of = [&](Prediction kind) {
    const Scheduler<double> scheduler({.prediction = kind});
    const auto x_t = scheduler.add_noise(x_0, eps, t);
    const Constant network{
        Variable<double>(scheduler.convert(guess, Prediction::epsilon, kind, 300, x_t))};
    return training_losses(network, scheduler, x_0, eps, t, {}, nullptr, {.loss = Loss::min_snr})
        .value()[0];
  };
  CHECK(loss_of(Prediction::x_0) == doctest::Approx(loss_of(Prediction::epsilon)));
  CHECK(loss_of(Prediction::v) == doctest::Approx(loss_of(Prediction::epsilon)));
}

TEST_CASE("losses: a learned variance and a loss that does not fit it are named") {
  const Constant two{random_parameter({2, 3, 3, 2}, 3)}, four{random_parameter({2, 3, 3, 4}, 3)};
  const SchedulerConfig learned{.variance = Variance::learned};
  const auto error = [](const auto& f) { return error_of<PreconditionError>(f); };
  CHECK(contains(error([&] { losses_of(four, learned, {}); }), "use hybrid or kl"));
  CHECK(contains(error([&] { losses_of(two, {}, {.loss = Loss::hybrid}); }), "use mse"));
  CHECK(contains(error([&] { losses_of(two, learned, {.loss = Loss::kl}); }),
                 "the network gives 2 channels, expected 4: the variance is learned"));
  CHECK(contains(error([&] { losses_of(four, {}, {}); }), "gives 4 channels, expected 2"));
  CHECK(contains(error([&] { losses_of(two, {}, {}, {0, 1000}); }), "timestep 1000"));
  CHECK(contains(error([&] { losses_of(two, {}, {.loss = Loss::min_snr, .snr_gamma = -3}); }),
                 "snr_gamma is -3"));
  CHECK(
      contains(error([&] { losses_of(four, learned, {.loss = Loss::hybrid, .hybrid_share = -1}); }),
               "hybrid_share is -1"));
  CHECK(contains(
      error([&] { losses_of(two, {.prediction = Prediction::x_prev}, {.loss = Loss::min_snr}); }),
      "min_snr has no weight"));
  CHECK(contains(error([&] { losses_of(two, {.zero_terminal_snr = true}, {.loss = Loss::kl}); }),
                 "no signal is left"));
}

TEST_CASE("timestep sampler: strata, one image each") {
  const TimestepSampler sampler(TimestepSampling::stratified, 1000);
  for (Index n = 0; n < 7; ++n) {
    Rng rng(5, Purpose::noise, n);
    const auto [t, weight] = sampler.draw(rng, n, 7);
    CHECK(weight == 1);
    CHECK(t >= n * 1000 / 7 - 1);
    CHECK(t <= (n + 1) * 1000 / 7);
  }
}

TEST_CASE("timestep sampler: by the losses' second moment, unbiased") {
  constexpr Index T = 20;
  TimestepSampler sampler(TimestepSampling::loss_second_moment, T);
  Rng rng(1);
  // Uniform until every timestep has ten losses.
  CHECK(sampler.draw(rng, 0, 1).weight == 1);
  std::vector<Index> t;
  Tensor<double> losses({T * TimestepSampler::history});
  for (Index i = 0; i < losses.size(); ++i) {
    t.push_back(i % T);
    losses[i] = double(i % T + 1);
  }
  sampler.update<double>(std::span(t).first(T), losses.slice(0, T));
  CHECK_FALSE(sampler.warm());
  for (Index i = 1; i < TimestepSampler::history; ++i)
    sampler.update<double>(std::span(t).first(T), losses.slice(0, T));
  REQUIRE(sampler.warm());
  double total = 0;
  for (Index i = 0; i < T; ++i) {
    total += sampler.probability(i);
    CHECK(sampler.probability(i) ==
          doctest::Approx(0.999 * double(i + 1) / 210 + 0.001 / T).epsilon(1e-12));
  }
  CHECK(total == doctest::Approx(1));
  double mean = 0;
  std::vector<int> drawn(T);
  for (int i = 0; i < 20000; ++i) {
    const auto [at, weight] = sampler.draw(rng, 0, 1);
    ++drawn[std::size_t(at)];
    mean += weight * double(at + 1) / 20000;
  }
  CHECK(mean == doctest::Approx(10.5).epsilon(0.005));  // of weights that are almost 1 / loss
  for (Index i = 0; i < T; ++i) {
    const double expected = 20000 * sampler.probability(i);
    CHECK(std::abs(drawn[std::size_t(i)] - expected) < 5 * std::sqrt(expected));
  }
  CHECK_THROWS_AS(TimestepSampler(TimestepSampling::uniform, 0), PreconditionError);
  CHECK_THROWS_AS(sampler.draw(rng, 4, 4), PreconditionError);
  CHECK_THROWS_AS(sampler.update<double>(std::vector<Index>{T}, Tensor<double>({1}, 0.0)),
                  PreconditionError);
  CHECK_THROWS_AS(sampler.update<double>(std::vector<Index>{0}, Tensor<double>({2}, 0.0)),
                  PreconditionError);
}
