// Errors, and the check at the public door.
//
// PreconditionError: the caller broke a contract. IoError: a file is not what it should be.
// NonFiniteError: the numbers left the finite range. Every message names the thing, what was
// expected and what came. Our own bugs are assert()s.
//
// SPDX-License-Identifier: MIT
#pragma once

#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>

#include "ddpm/version.hpp"

namespace ddpm::DDPM_ABI {

/// The caller broke a documented contract; thrown before any work starts,
/// but for a value among many (a label, say) that does not fit.
struct PreconditionError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A file cannot be read or written, or does not hold what its format promises.
struct IoError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A loss, gradient, weight or sample is infinite or not a number.
struct NonFiniteError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace detail {

/// A value to be streamed, whatever its type. With it the code that makes a text is compiled once
/// for each type, not once for each list of types: there are hundreds of messages.
class Part {
 public:
  Part(const char* text)
      : value_(text), write_([](std::ostream& out, const void* value) {
          out << static_cast<const char*>(value);
        }) {}
  template <class V>
  Part(const V& value)
      : value_(&value),
        write_([](std::ostream& out, const void* v) { out << *static_cast<const V*>(v); }) {}

  friend std::ostream& operator<<(std::ostream& out, const Part& part) {
    part.write_(out, part.value_);
    return out;
  }

 private:
  const void* value_;
  void (*write_)(std::ostream&, const void*);
};

[[gnu::noinline]] inline std::string join(std::initializer_list<Part> parts) {
  std::ostringstream text;
  text.exceptions(std::ios_base::badbit);  // a text for which there is no memory is no shorter text
  for (const Part& part : parts) text << part;
  return text.str();
}

[[noreturn, gnu::noinline, gnu::cold]] inline void throw_precondition(
    std::initializer_list<Part> parts) {
  throw PreconditionError(join(parts));
}

}  // namespace detail

/// All parts, streamed one after the other.
template <class... Parts>
std::string message(const Parts&... parts) {
  return detail::join({detail::Part(parts)...});
}

/// Throws PreconditionError with the parts as its text unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    detail::throw_precondition({detail::Part(parts)...});
}

/// A text for a message, not longer than a line.
inline std::string clipped(const std::string& text) {
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

}  // namespace ddpm::DDPM_ABI
