// A reference to something callable: one type for all of them, so that what takes one is compiled
// once.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <type_traits>
#include <utility>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI {

template <class Signature>
class FunctionRef;

/// Does not own what it calls, which must outlive it.
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>) FunctionRef(const F& f)
      : function_(&f), call_([](const void* function, Args... args) -> R {
          return (*static_cast<const F*>(function))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(function_, std::forward<Args>(args)...); }

 private:
  const void* function_;
  R (*call_)(const void*, Args...);
};

}  // namespace ddpm::DDPM_ABI
