// Which path a convolution takes: a rule of shapes, never timed at run time. The doors, the tests
// and the benchmarks all ask conv_path(); a new path is a new value, its rule, and a file.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>

#include "ddpm/core/enum_names.hpp"
#include "ddpm/kernels/conv/geometry.hpp"
#include "ddpm/kernels/product/amx.hpp"

namespace ddpm::DDPM_ABI {

enum class ConvAlgorithm {
  automatic,  ///< Winograd's F(4x4, 3x3) where it pays, see kernels::winograd_pays()
  direct,     ///< never Winograd: about ten times smaller rounding errors, up to three times slower
};
template <>
inline constexpr auto enum_names<ConvAlgorithm> = named<ConvAlgorithm>("automatic", "direct");

namespace detail {
inline std::atomic<ConvAlgorithm> conv_algorithm{ConvAlgorithm::automatic};
}

/// Sets the algorithm of all convolutions of the process. Results differ only by rounding.
inline void set_conv_algorithm(ConvAlgorithm algorithm) {
  detail::conv_algorithm.store(algorithm, std::memory_order_relaxed);
}
inline ConvAlgorithm conv_algorithm() {
  return detail::conv_algorithm.load(std::memory_order_relaxed);
}

namespace kernels {

/// True for 3x3 kernels of stride 1, 32 channels or more each way, and maps of 4x4 or more. Below
/// that the transforms and the tiles' overhang cost what the products save (bench_conv2d; Zen 4).
/// The batch has no say, so that an image's bits do not depend on it.
inline bool winograd_pays(const Window& g, Index C_in, Index C_out) {
  const Padding& pad = g.padding;
  const auto narrow = [](Index p) { return p <= 2; };  // the data gradient pads by 2 - p
  return conv_algorithm() == ConvAlgorithm::automatic && g.N > 0 && g.KH == 3 && g.KW == 3 &&
         g.stride == 1 && narrow(pad.top) && narrow(pad.bottom) && narrow(pad.left) &&
         narrow(pad.right) && std::min(C_in, C_out) >= 32 && std::min({g.H, g.W, g.OH, g.OW}) >= 4;
}

/// True if `channels` of a side count as few: with half an AVX-512 pack of them a direct
/// convolution still does twice the work.
inline bool few_channels(const Window& g, Index channels) { return channels <= 8 && g.taps() > 1; }

/// What a convolution computes.
enum class ConvPass { forward, data_gradient, weight_gradient };

/// How it computes it.
enum class ConvPath {
  direct,
  few_inputs,   ///< few channels of x
  few_outputs,  ///< few channels of y, dot products of floats
  winograd,
  tiles,  ///< bfloat16 on AMX
};

/// The path of a pass over this window, from C_in channels of x to C_out of y.
inline ConvPath conv_path(ConvPass pass, const Window& g, Index C_in, Index C_out,
                          Precision precision) {
  if (precision == Precision::bfloat16 && amx::granted() && can_turn(g)) return ConvPath::tiles;
  if (winograd_pays(g, C_in, C_out)) return ConvPath::winograd;
  const bool few_in = few_channels(g, C_in), few_out = few_channels(g, C_out);
  const bool dots = precision == Precision::float32;
  // The narrow gradients run over the turned window, except that of the weights for few inputs.
  switch (pass) {
    case ConvPass::forward:
      return few_out && dots ? ConvPath::few_outputs
             : few_in        ? ConvPath::few_inputs
                             : ConvPath::direct;
    case ConvPass::data_gradient:
      if (!can_turn(g) || (few_in && !dots)) return ConvPath::direct;
      break;
    case ConvPass::weight_gradient:
      if (!few_in && !can_turn(g)) return ConvPath::direct;
      break;
  }
  return few_in ? ConvPath::few_inputs : few_out ? ConvPath::few_outputs : ConvPath::direct;
}

}  // namespace kernels

template <>
inline constexpr auto enum_names<kernels::ConvPass> = named<kernels::ConvPass>("forward",
                                                                               "data_gradient",
                                                                               "weight_gradient");

template <>
inline constexpr auto enum_names<kernels::ConvPath> =
    named<kernels::ConvPath>("direct", "few_inputs", "few_outputs", "winograd", "tiles");

}  // namespace ddpm::DDPM_ABI
