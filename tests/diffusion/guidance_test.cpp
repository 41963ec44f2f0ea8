#include "ddpm/diffusion/guidance.hpp"

#include "../support.hpp"
#include "ddpm/diffusion/sample.hpp"
#include "fixture.hpp"

using namespace test;

namespace {

/// The best denoiser of Gaussians of one deviation: class c has mean 0.2 c, no class mean 0. Guided
/// by s it is exactly that of mean 0.2 c s.
struct Classes {
  static constexpr double deviation = 0.3;
  const Scheduler<double>& scheduler;

  Variable<double> operator()(const Variable<double>& x, std::span<const double> t,
                              std::span<const Index> labels = {}) const {
    const NoiseLevel l = scheduler.level(t[0]);
    const double spread = l.abar * deviation * deviation + 1 - l.abar;
    const Tensor<double> eps = x.value().clone();
    const Index size = eps.size() / eps.dim(0);
    for (Index i = 0; i < eps.size(); ++i) {
      const Index label = labels.empty() ? no_label : labels[std::size_t(i / size)];
      const double mean = label == no_label ? 0 : 0.2 * double(label);
      eps[i] = l.sigma() / spread * (eps[i] - l.alpha() * mean);
    }
    return Variable<double>(eps);
  }
  Index classes() const { return 5; }
  Shape sample_shape(Index count) const { return {count, 2, 2, 1}; }
};

}  // namespace

TEST_CASE("guidance: every sampler draws the class asked for, and further out with more guidance") {
  const Classes model{unclipped()};
  for (std::size_t kind = 0; kind < enum_names<Sampler>.size(); ++kind)
    for (const double guidance : {1.0, 2.5}) {
      CAPTURE(kind);
      const auto samples = sample(model, unclipped(),
                                  {.count = 1000,
                                   .seed = 2,
                                   .batch_size = 300,
                                   .sampler = static_cast<Sampler>(kind),
                                   .steps = 50,
                                   .labels = {1, 4},
                                   .guidance = guidance});
      double mean[2] = {0, 0}, square = 0;
      for (Index i = 0; i < samples.size(); ++i) mean[i / 4 % 2] += samples[i] / 2000;
      for (Index i = 0; i < samples.size(); ++i)
        square += std::pow(samples[i] - mean[i / 4 % 2], 2) / 4000;
      CHECK(std::abs(mean[0] - 0.2 * guidance) < 0.035);  // five standard errors, and 50 steps
      CHECK(std::abs(mean[1] - 0.8 * guidance) < 0.035);
      CHECK(std::sqrt(square) == doctest::Approx(Classes::deviation).epsilon(0.08));
    }
}

TEST_CASE("guidance: the formula, and the scales that need one evaluation") {
  const Classes model{unclipped()};
  const Variable<double> x(random_tensor<double>({3, 2, 2, 1}, 1));
  const std::vector<double> t{300, 300, 300};
  const std::vector<Index> labels{4, no_label, 2};
  const auto free = model(x, t).value(), told = model(x, t, labels).value();
  const auto at = [&](double scale) {
    return Guided<double, Classes>(model, labels, scale)(x, t).value();
  };
  CHECK(same_bits(at(0), free));
  CHECK(same_bits(at(1), told));
  const auto guided = at(3);
  for (Index i = 0; i < guided.size(); ++i)
    CHECK(guided[i] == doctest::Approx(free[i] + 3 * (told[i] - free[i])));
}

TEST_CASE("guidance: bad input is named") {
  const Classes model{unclipped()};
  struct Plain {
    Variable<double> operator()(const Variable<double>& x, std::span<const double>) const {
      return x;
    }
    Shape sample_shape(Index count) const { return {count, 2, 2, 1}; }
  } const plain;
  const auto error = [&](const auto& denoiser, const SampleOptions& options) {
    return error_of<PreconditionError>([&] { sample(denoiser, unclipped(), options); });
  };
  CHECK(contains(error(model, {.labels = {5}}), "sample: label 0 is 5, expected 0 to 4"));
  CHECK(contains(error(model, {.labels = {1, -2}}), "label 1 is -2"));
  // A label of the last batch is found before the first.
  Index evaluations = 0;
  const auto counted = [&] {
    sample(model, unclipped(), {.count = 3, .batch_size = 1, .steps = 5, .labels = {0, 1, 7}},
           [&](const SampleProgress<double>&) { ++evaluations; });
  };
  CHECK(contains(error_of<PreconditionError>(counted), "label 2 is 7"));
  CHECK(evaluations == 0);
  CHECK(contains(error(model, {.guidance = 2}), "guidance is 2 without labels"));
  CHECK(contains(error(plain, {.guidance = 2}), "guidance is 2 without labels"));
  CHECK(contains(error(plain, {.labels = {1}}), "takes none"));
  CHECK(contains(error(model, {.labels = {1}, .guidance = std::nan("")}), "guidance is nan"));
  const Guided<double, Classes> two(model, {1, 2}, 1);
  const Variable<double> three(Tensor<double>({3, 2, 2, 1}, 0.0));
  CHECK_THROWS_AS(two(three, std::vector<double>{1, 1, 1}), PreconditionError);
}

TEST_CASE("guidance: a sample's class goes with its number, whatever comes before") {
  const Classes model{unclipped()};
  const auto all = sample(model, unclipped(), {.count = 6, .steps = 10, .labels = {0, 1, 2, 3}});
  const auto rest =
      sample(model, unclipped(), {.count = 3, .first = 3, .steps = 10, .labels = {0, 1, 2, 3}});
  CHECK(std::equal(rest.begin(), rest.end(), all.begin() + 12));
}

TEST_CASE("guidance: a learned variance is that of the class") {
  struct Learned {
    Variable<double> operator()(const Variable<double>& x, std::span<const double>,
                                std::span<const Index> labels = {}) const {
      const bool told = !labels.empty() && labels[0] != no_label;
      Tensor<double> output({x.dim(0), x.dim(1), x.dim(2), 2 * x.dim(3)});
      for (Index i = 0; i < output.size(); ++i) output[i] = (told ? 3 : 1) + 0.1 * double(i % 2);
      return Variable<double>(output);
    }
    Index classes() const { return 1; }
  } const learned;
  const Variable<double> x(Tensor<double>({1, 2, 2, 1}, 0.0));
  const auto output = Guided<double, Learned>(learned, {0}, 2)(x, std::vector<double>{5}).value();
  for (Index p = 0; p < 4; ++p) {
    CHECK(output[2 * p] == doctest::Approx(5));        // 1 + 2 (3 - 1)
    CHECK(output[2 * p + 1] == doctest::Approx(3.1));  // not 5.1
  }
}
