// The library's templates that most tests use, compiled once, for float and double.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/compiled.hpp"

#ifdef DDPM_COMPILE
#define DDPM_EXTERN
#else
#define DDPM_EXTERN extern
#endif

namespace ddpm::DDPM_ABI {
namespace kernels {
DDPM_COMPILED_KERNELS(DDPM_EXTERN, double)
}
DDPM_COMPILED_OPS(DDPM_EXTERN, double)
DDPM_EXTERN template class Scheduler<double>;
DDPM_EXTERN template struct UNet<double>;
DDPM_EXTERN template struct TutorialUNet<double>;
}  // namespace ddpm::DDPM_ABI

#undef DDPM_EXTERN
