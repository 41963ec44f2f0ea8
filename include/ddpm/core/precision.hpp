// How products are computed: matrix products, convolutions and attention, of floats.
//
// Tensors are floats either way, at every public door. With Precision::bfloat16 the operands of a
// product are rounded to bfloat16, a float's upper half, and summed in float32: twice as many
// products an instruction where the processor has one (AVX512_BF16, AMX_BF16), and half the memory.
// On other processors the operands are rounded and go to the kernels of float32, which takes a
// little longer than float32 does. With such instructions, convolutions that go through Winograd
// round what they multiply, the transformed planes.
//
// Results differ from processor to processor: the instructions round sums in their own way and take
// denormal values for zero, and without them neither Winograd's planes nor the weights of attention
// are rounded. Equal bits are promised where the instructions are the same. Callbacks run at the
// precision of what calls them.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/core/enum_names.hpp"
#include "ddpm/core/scoped.hpp"

namespace ddpm::DDPM_ABI {

enum class Precision {
  float32,   ///< the default
  bfloat16,  ///< operands rounded to 8 bits of mantissa, a relative error of up to 2^-8 each
};
template <>
inline constexpr auto enum_names<Precision> = named<Precision>("float32", "bfloat16");

namespace detail {
inline thread_local Precision precision = Precision::float32;
}

/// The precision of this thread's products.
inline Precision matmul_precision() { return detail::precision; }

/// Sets it, for the current scope and the tasks of its parallel_for calls. Has no say in products
/// of doubles. A backward pass takes the precision that is set when it runs; that of attention, and
/// of ops that are fused for AMX (norm_conv2d, residual blocks), is that of the forward pass.
class PrecisionScope : detail::Scoped<Precision> {
 public:
  explicit PrecisionScope(Precision precision) : Scoped(detail::precision, precision) {}
};

}  // namespace ddpm::DDPM_ABI
