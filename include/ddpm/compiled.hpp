// The large templates of the library for one type, compiled once instead of in every file.
//
// A file that trains or samples compiles in about a third of the time if the program is built with
// DDPM_COMPILED and one of its files is
//
//   #include <ddpm/ddpm.hpp>
//   DDPM_COMPILED_ALL()
//
// The CMake target ddpm::compiled does both. Without it nothing is compiled ahead.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/diffusion/inpaint.hpp"
#include "ddpm/diffusion/likelihood.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/train/trainer.hpp"

// NOLINTBEGIN(bugprone-macro-parentheses): what the arguments are, types and a word
// In each list, extern_ is the word `extern`, for a declaration, or nothing, for a definition.

#define DDPM_COMPILED_KERNELS(extern_, T)                                                         \
  extern_ template void attention_forward<T>(View<const T>, Index, View<T>, View<T>);             \
  extern_ template void attention_backward<T>(View<const T>, View<const T>, View<const T>, Index, \
                                              View<T>);                                           \
  extern_ template void column_sums<T>(View<const T>, View<T>);                                   \
  extern_ template void conv2d_forward<T>(View<const T>, View<const T>, View<const T>,            \
                                          View<const T>, const ConvGeometry&, View<T>);           \
  extern_ template void conv2d_backward<T>(View<const T>, View<const T>, View<const T>,           \
                                           const ConvGeometry&, View<T>, View<T>, View<T>);       \
  extern_ template void conv_transpose2d_forward<T>(View<const T>, View<const T>, View<const T>,  \
                                                    const ConvGeometry&, View<T>);                \
  extern_ template void conv_transpose2d_backward<T>(View<const T>, View<const T>, View<const T>, \
                                                     const ConvGeometry&, View<T>, View<T>,       \
                                                     View<T>);                                    \
  extern_ template void group_norm_forward<T>(const Joined<const T>&, View<const T>,              \
                                              View<const T>, T, Activation, View<T>,              \
                                              GroupStats<T>);                                     \
  extern_ template void group_norm_backward<T>(                                                   \
      View<const T>, const Joined<const T>&, View<const T>, View<const T>, Activation,            \
      GroupStats<const T>, const Joined<T>&, View<T>, View<T>, const Joined<const T>&);           \
  extern_ template void linear_forward<T>(View<const T>, View<const T>, View<const T>, View<T>);  \
  extern_ template void linear_backward<T>(View<const T>, View<const T>, View<const T>, View<T>,  \
                                           View<T>, View<T>);                                     \
  extern_ template void matmul_forward<T>(View<const T>, View<const T>, View<T>);                 \
  extern_ template void matmul_backward<T>(View<const T>, View<const T>, View<const T>, View<T>,  \
                                           View<T>);                                              \
  extern_ template void variational_forward<T>(View<const T>, View<const T>, View<const T>,       \
                                               std::span<const VariationalStep>,                  \
                                               const VariationalOptions&, View<T>, View<T>);      \
  extern_ template void variational_backward<T>(View<const T>, View<const T>, View<const T>,      \
                                                View<const T>, std::span<const VariationalStep>,  \
                                                const VariationalOptions&, View<T>);

#define DDPM_COMPILED_OPS(extern_, T)                                                              \
  extern_ template class Scheduler<T>;                                                             \
  extern_ template class Variable<T>;                                                              \
  extern_ template class distributed::GradientSum<T>;                                              \
  extern_ template class distributed::RankGradientSum<T>;                                          \
  extern_ template Variable<T> operator+(const Variable<T>&, const Variable<T>&);                  \
  extern_ template Variable<T> add_row(const Variable<T>&, const Variable<T>&);                    \
  extern_ template Variable<T> attention(const Variable<T>&, Index);                               \
  extern_ template Variable<T> concat(const Variable<T>&, const Variable<T>&);                     \
  extern_ template Variable<T> conv2d(const Variable<T>&, const Variable<T>&, const Variable<T>&,  \
                                      const ConvGeometry&, const Variable<T>&);                    \
  extern_ template Variable<T> conv_transpose2d(const Variable<T>&, const Variable<T>&,            \
                                                const Variable<T>&, const ConvGeometry&, Index,    \
                                                Index);                                            \
  extern_ template Variable<T> dropout(const Variable<T>&, double, const Rng&);                    \
  extern_ template Variable<T> embedding(const Variable<T>&, std::span<const Index>);              \
  extern_ template Variable<T> group_norm(const Variable<T>&, const Variable<T>&,                  \
                                          const Variable<T>&, Index, T, Activation,                \
                                          const Variable<T>&);                                     \
  extern_ template Variable<T> linear(const Variable<T>&, const Variable<T>&, const Variable<T>&); \
  extern_ template Variable<T> matmul(const Variable<T>&, const Variable<T>&);                     \
  extern_ template Variable<T> mse_loss(const Variable<T>&, const Variable<T>&, Index);            \
  extern_ template Variable<T> norm_conv2d(                                                        \
      const Variable<T>&, const Variable<T>&, const Normalisation<T>&, const Variable<T>&,         \
      const Variable<T>&, const ConvGeometry&, const Variable<T>&);                                \
  extern_ template Variable<T> pointwise_conv2d(const Variable<T>&, const Variable<T>&,            \
                                                const Variable<T>&, const Variable<T>&);           \
  extern_ template Variable<T> silu(const Variable<T>&);                                           \
  extern_ template Variable<T> softmax(const Variable<T>&);

#define DDPM_COMPILED_NETWORK(extern_, T, Network)                                                 \
  extern_ template struct Network<T>;                                                              \
  extern_ template struct TrainingState<T, Network<T>>;                                            \
  extern_ template class Trainer<T, Network<T>>;                                                   \
  extern_ template Tensor<T> sample(const Network<T>&, const Scheduler<T>&, const SampleOptions&,  \
                                    const std::type_identity_t<OnSampleStep<T>>&);                 \
  extern_ template Likelihood likelihood(const Network<T>&, const Scheduler<T>&, const Tensor<T>&, \
                                         const LikelihoodOptions&,                                 \
                                         const std::function<void(Index, Index)>&);

// NOLINTEND(bugprone-macro-parentheses)

/// All of them, for float; with nothing between the brackets they are compiled. It may stand behind
/// other includes, as a unity build or a precompiled header puts it.
#define DDPM_COMPILED_ALL(extern_)                    \
  namespace ddpm::DDPM_ABI {                          \
  namespace kernels {                                 \
  DDPM_COMPILED_KERNELS(extern_, float)               \
  }                                                   \
  DDPM_COMPILED_OPS(extern_, float)                   \
  DDPM_COMPILED_NETWORK(extern_, float, UNet)         \
  DDPM_COMPILED_NETWORK(extern_, float, TutorialUNet) \
  }

DDPM_COMPILED_ALL(extern)
