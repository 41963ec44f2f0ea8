// FixedParameters: a scope in which no parameter changes its value, as in a sampling run.
//
// SPDX-License-Identifier: MIT
#pragma once

#include "ddpm/autograd/variable.hpp"
#include "ddpm/core/scoped.hpp"
#include "ddpm/kernels/conv/amx/tile_weights.hpp"

namespace ddpm::DDPM_ABI {

/// While an object of this kind lives, no parameter may change that an op of this thread has read
/// under NoGrad. In bfloat16 on AMX convolutions then round each weight once, which takes half as
/// much memory again as the weights; elsewhere it has no effect. Scopes nest; the outermost counts.
/// sample(), inpaint() and likelihood() have one of their own.
class FixedParameters {
 public:
  FixedParameters() {}  // not `= default`: a scope that does nothing is no unused variable
  FixedParameters(const FixedParameters&) = delete;
  FixedParameters& operator=(const FixedParameters&) = delete;

 private:
#ifdef DDPM_AMX
  kernels::amx::WeightStore store_;
  detail::Scoped<kernels::amx::WeightStore*> scope_{
      kernels::amx::weight_store,
      kernels::amx::weight_store ? kernels::amx::weight_store : &store_};
#endif
};

namespace detail {

/// Tells the scope, if there is one, of weights that an op reads.
template <class T>
void reads_weights([[maybe_unused]] const Variable<T>& w) {
#ifdef DDPM_AMX
  if constexpr (std::is_same_v<T, float>)
    if (kernels::amx::weight_store && !grad_enabled() && w.requires_grad())
      kernels::amx::weight_store->admit(w.value());
#endif
}

}  // namespace detail

}  // namespace ddpm::DDPM_ABI
