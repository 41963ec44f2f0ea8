// A variable that has another value for the current scope, such as a setting of this thread.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <utility>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI::detail {

template <class T>
class Scoped {
 public:
  Scoped(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;
  ~Scoped() { variable_ = before_; }

 private:
  T& variable_;
  T before_;
};

}  // namespace ddpm::DDPM_ABI::detail
