// The library's templates that most tests use, compiled once, for float and double.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/compiled.hpp"

namespace ddpm::DDPM_ABI {
namespace kernels {
DDPM_COMPILED_KERNELS(DDPM_COMPILED_EXTERN, double)
}
DDPM_COMPILED_OPS(DDPM_COMPILED_EXTERN, double)
DDPM_COMPILED_EXTERN template struct UNet<double>;
DDPM_COMPILED_EXTERN template struct TutorialUNet<double>;
}  // namespace ddpm::DDPM_ABI
