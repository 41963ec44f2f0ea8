// ddpm: denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020) on the CPU.
//
// Everything that needs only Eigen and xsimd. Readers and writers of files need stb, zlib and
// nlohmann/json: link the target ddpm::io (or define DDPM_WITH_IO and link zlib) to have them here
// too, or include ddpm/io/, ddpm/data/ and ddpm/train/checkpoint.hpp by name.
//
// SPDX-License-Identifier: MIT
#pragma once

// Function-like min and max macros, as some systems' headers define them, would break the names
// std::min and numeric_limits::max(): they are set aside, and come back at the end.
#pragma push_macro("min")
#pragma push_macro("max")
#undef min
#undef max

#include "ddpm/autograd/gradcheck.hpp"
#include "ddpm/data/loader.hpp"
#include "ddpm/diffusion/inpaint.hpp"
#include "ddpm/diffusion/interpolate.hpp"
#include "ddpm/diffusion/likelihood.hpp"
#include "ddpm/nn/tutorial_unet.hpp"
#include "ddpm/nn/unet.hpp"
#include "ddpm/train/trainer.hpp"

#ifdef DDPM_WITH_IO
#include "ddpm/data/cifar10.hpp"
#include "ddpm/data/idx.hpp"
#include "ddpm/data/image_folder.hpp"
#include "ddpm/io/image.hpp"
#include "ddpm/train/checkpoint.hpp"
#endif

#ifdef DDPM_COMPILED
#include "ddpm/compiled.hpp"
#endif

#pragma pop_macro("max")
#pragma pop_macro("min")
