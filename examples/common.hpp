// What the example programs share: the data option, the echo of settings, the denoising strip.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ddpm/ddpm.hpp>
#include <iostream>
#include <string>

namespace examples {

using namespace ddpm;

/// Runs f() and turns an exception into a line on standard error and exit status 1.
template <class F>
int report_errors(const F& f) {
  try {
    f();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}

/// Prints one setting of the run.
template <class... Value>
void echo(const char* name, const Value&... value) {
  std::cout << "  " << name << std::string(std::max<std::size_t>(1, 18 - std::strlen(name)), ' ')
            << message(value...) << '\n';
}

/// Keeps sample 0 at `pictures` moments spread over the steps, for one row that shows a picture
/// coming out of the noise. Most of what the eye sees happens late, so the moments crowd there.
class DenoisingStrip {
 public:
  DenoisingStrip(Index timesteps, Index pictures) {
    for (Index i = 0; i < pictures; ++i) {
      const double rest = 1 - static_cast<double>(i) / static_cast<double>(pictures - 1);
      const double t = static_cast<double>(timesteps - 1) * rest * rest;
      moments_.push_back(static_cast<Index>(t));
    }
  }

  void operator()(const SampleProgress<float>& progress) {
    if (next_ >= moments_.size() || progress.t > moments_[next_]) return;
    const Tensor<float>& x = progress.prev_sample;
    if (strip_.empty())
      strip_ = Tensor<float>({std::ssize(moments_), x.dim(1), x.dim(2), x.dim(3)}, 0.0F);
    for (; next_ < moments_.size() && progress.t <= moments_[next_]; ++next_) {
      const View<float> first = x.slice(0, 1);
      std::copy(first.begin(), first.end(), strip_.slice(static_cast<Index>(next_), 1).begin());
    }
  }

  void write(const std::string& path) const { io::write_image_grid(path, strip_, strip_.dim(0)); }

 private:
  std::vector<Index> moments_;
  std::size_t next_ = 0;
  Tensor<float> strip_;
};

/// Draws samples with a progress bar, and writes their grid and, if asked for, a denoising strip.
template <class Network>
void write_samples(const Network& network, const Scheduler<float>& scheduler,
                   const SampleOptions& options, const std::string& grid,
                   const std::string& strip = "") {
  const Index batches = (options.count + options.batch_size - 1) / options.batch_size;
  const Index steps = batches * scheduler.timesteps();
  ProgressDisplay display("sampling", steps, Progress::automatic);
  DenoisingStrip moments(scheduler.timesteps(), 12);
  Index done = 0;
  const auto on_step = [&](const SampleProgress<float>& progress) {
    moments(progress);
    display.update(++done, progress.prev_sample.dim(0));
  };
  const Tensor<float> samples = sample(network, scheduler, options, on_step);
  io::write_image_grid(grid, samples);
  std::cout << "wrote " << grid << '\n';
  if (strip.empty()) return;
  moments.write(strip);
  std::cout << "wrote " << strip << '\n';
}

}  // namespace examples
