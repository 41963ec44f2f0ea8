// What most tests use of the library's templates for double, compiled once; compiled.hpp of the
// library has those for float.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/compiled.hpp"

#define DDPM_TESTS_COMPILED(extern_)            \
  namespace ddpm::DDPM_ABI {                    \
  namespace kernels {                           \
  DDPM_COMPILED_KERNELS(extern_, double)        \
  }                                             \
  DDPM_COMPILED_OPS(extern_, double)            \
  extern_ template struct UNet<double>;         \
  extern_ template struct TutorialUNet<double>; \
  }

DDPM_TESTS_COMPILED(extern)
