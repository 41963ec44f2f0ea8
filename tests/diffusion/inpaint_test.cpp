#include "ddpm/diffusion/inpaint.hpp"

#include "pair.hpp"

using namespace test;

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
