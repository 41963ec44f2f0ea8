// Errors, and the check at the public door.
//
// PreconditionError: the caller broke a contract. IoError: a file is not what it should be.
// NonFiniteError: the numbers left the finite range. Every message names the thing, what was
// expected and what came. Our own bugs are assert()s.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI {

/// The caller broke a documented contract; thrown before any work starts.
struct PreconditionError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A file cannot be read or written, or does not hold what its format promises.
struct IoError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A loss, gradient or weight is infinite or not a number.
struct NonFiniteError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// All parts, streamed one after the other.
template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws PreconditionError with the parts as its text unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw PreconditionError(message(parts...));
}

}  // namespace ddpm::DDPM_ABI
