// A diffusion model of points in the plane, with a small network of one's own: trains in seconds on
// a swiss roll and draws its points beside the data, as swiss_roll.svg. Usage: swiss_roll [STEPS]
//
// SPDX-License-Identifier: MIT
#include <ddpm/ddpm.hpp>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <numbers>

namespace {

using namespace ddpm;

constexpr Index hidden = 128, waves = 4, features = 2 + 4 * waves;

/// Points (N, 1, 1, 2) with sines and cosines of their coordinates, (N, 1, 1, features): a small
/// network sees fine detail only through them (Tancik et al. 2020, arXiv:2006.10739).
Variable<float> with_waves(const Tensor<float>& points) {
  const Tensor<float> result({points.dim(0), 1, 1, features});
  float* to = result.data();
  for (Index n = 0; n < points.dim(0); ++n)
    for (Index axis = 0; axis < 2; ++axis) {
      const float x = points[2 * n + axis];
      *to++ = x;
      for (Index k = 0; k < waves; ++k) {
        const float phase = x * std::numbers::pi_v<float> * float(Index{1} << k);
        *to++ = std::sin(phase);
        *to++ = std::cos(phase);
      }
    }
  return Variable<float>(result);
}

/// Dense layers on each point, with the timestep added in between. A point is an image of 1 x 1
/// pixels and two channels, and a dense layer a 1x1 convolution, which takes a bias for each image.
struct PointNetwork {
  nn::TimeMlp<float> time;
  nn::Conv2d<float> first, second, third, last;
  nn::Linear<float> time_to_second, time_to_third;

  explicit PointNetwork(Rng rng)
      : time(hidden / 4, nn::TimeActivation::silu, 0, rng),
        first(nn::Conv2d<float>::pointwise(features, hidden, rng)),
        second(nn::Conv2d<float>::pointwise(hidden, hidden, rng)),
        third(nn::Conv2d<float>::pointwise(hidden, hidden, rng)),
        last(nn::Conv2d<float>::pointwise(hidden, 2, rng)),
        time_to_second(hidden, hidden, rng),
        time_to_third(hidden, hidden, rng) {}

  Variable<float> operator()(const Variable<float>& x, std::span<const double> t,
                             std::span<const Index> labels = {}, Rng* = nullptr) const {
    const auto at = time(t, labels);
    auto h = silu(first(with_waves(x.value())));
    h = silu(conv2d(h, second.weight, time_to_second(at)));
    h = silu(conv2d(h, third.weight, time_to_third(at)));
    return last(h);
  }
  Index classes() const { return 0; }
  Shape sample_shape(Index count) const { return {count, 1, 1, 2}; }

  static void members(auto& self, auto&& visit) {
    visit("time", self.time);
    visit("first", self.first);
    visit("second", self.second);
    visit("third", self.third);
    visit("last", self.last);
    visit("time_to_second", self.time_to_second);
    visit("time_to_third", self.time_to_third);
  }
};

/// `count` points of the roll, (count, 1, 1, 2), in [-1, 1].
Tensor<float> swiss_roll(Index count, Rng rng) {
  const Tensor<float> points({count, 1, 1, 2}), noise({count, 1, 1, 2});
  fill_normal<float>(noise, rng);
  for (Index i = 0; i < count; ++i) {
    const double angle = (1.5 + 3 * rng.uniform()) * std::numbers::pi, radius = angle / 15;
    points[2 * i] = float(radius * std::cos(angle)) + 0.015F * noise[2 * i];
    points[2 * i + 1] = float(radius * std::sin(angle)) + 0.015F * noise[2 * i + 1];
  }
  return points;
}

/// Both sets of points side by side.
void write_picture(const std::string& path, const Tensor<float>& data, const Tensor<float>& drawn) {
  std::ofstream file(path);
  file
      << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 820 430' font-family='sans-serif'>\n"
         "<rect width='820' height='430' fill='white'/>\n";
  const auto panel = [&](double left, const char* title, const char* colour,
                         const Tensor<float>& points) {
    file << "<text x='" << left + 200 << "' y='20' text-anchor='middle'>" << title << "</text>\n";
    for (Index i = 0; i < points.dim(0); ++i)
      file << "<circle cx='" << left + 200 + 190 * double(points[2 * i]) << "' cy='"
           << 225 - 190 * double(points[2 * i + 1]) << "' r='1.5' fill='" << colour << "'/>\n";
  };
  panel(0, "data", "#888", data);
  panel(410, "drawn", "#06c", drawn);
  file << "</svg>\n";
  if (!file.flush()) throw IoError(path + ": cannot write");
}

}  // namespace

int main(int count, char** arguments) try {
  const Index steps = count > 1 ? std::atol(arguments[1]) : 4000;
  const Tensor<float> data = swiss_roll(8192, Rng(1));
  const Scheduler<float> scheduler({.timesteps = 100, .schedule = BetaSchedule::cosine});
  Trainer<float, PointNetwork> trainer(
      PointNetwork(Rng(2)), scheduler,
      {.batch_size = 256, .steps = steps, .learning_rate = 2e-3, .ema_decay = 0.99});
  trainer.fit(data);

  const Tensor<float> drawn = sample(trainer.ema_model(), scheduler, {.count = 2000, .seed = 3});
  write_picture("swiss_roll.svg", swiss_roll(2000, Rng(4)), drawn);
  std::cout << "wrote swiss_roll.svg\n";
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
