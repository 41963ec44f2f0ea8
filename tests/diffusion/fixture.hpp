// What tests of samplers share, and the fixture of diffusers' scheduler tests.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/tensor.hpp"
#include "ddpm/diffusion/sample.hpp"

namespace test {

inline const ddpm::Scheduler<double>& unclipped() {
  static const ddpm::Scheduler<double> scheduler({.clip_sample = false});
  return scheduler;
}

inline const auto no_noise = [] { return ddpm::Tensor<double>(); };
inline const auto ignore = [](const ddpm::SampleProgress<double>&) {};

/// x[b][c][h][w] = (((c 8 + h) 8 + w) 4 + b) / 768, as (4, 8, 8, 3); `reversed` runs backwards
/// through the same numbers.
inline ddpm::Tensor<double> scheduler_fixture(bool reversed = false) {
  using ddpm::Index;
  ddpm::Tensor<double> x({4, 8, 8, 3});
  for (Index b = 0; b < 4; ++b)
    for (Index h = 0; h < 8; ++h)
      for (Index w = 0; w < 8; ++w)
        for (Index c = 0; c < 3; ++c) {
          const Index i = ((c * 8 + h) * 8 + w) * 4 + b;
          x[((b * 8 + h) * 8 + w) * 3 + c] = double(reversed ? 767 - i : i) / 768;
        }
  return x;
}

}  // namespace test
