#!/bin/sh
# What cannot compile says why, in one plain error; macros of other headers do no harm.
# Usage: run.sh CXX INCLUDE_FLAGS...
set -u
cxx=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# refuse NAME WANTED_TEXT MOST_ERRORS FLAGS... < SOURCE
refuse() {
  name=$1 wanted=$2 most=$3
  shift 3
  cat > "$work/$name.cpp"
  if "$cxx" "$@" -fsyntax-only "$work/$name.cpp" > "$work/$name.log" 2>&1; then
    echo "$name: compiles, and should not"
    status=1
    return
  fi
  errors=$(grep -c 'error:' "$work/$name.log")
  if ! grep -q "$wanted" "$work/$name.log" || [ "$errors" -gt "$most" ]; then
    echo "$name: $errors errors (at most $most expected), with '$wanted' among:"
    grep 'error:' "$work/$name.log" | head -5
    status=1
  fi
}

# The second error of the first three is the missing file that ends the compilation; of others, what
# g++ says of the line that uses what it refused.
refuse cxx17 'needs C++20' 2 -std=c++17 "$@" <<'END'
#include <ddpm/ddpm.hpp>
END
refuse no_exceptions 'without -fno-exceptions' 2 -std=c++20 -fno-exceptions "$@" <<'END'
#include <ddpm/ddpm.hpp>
END
refuse fast_math 'fast-math' 2 -std=c++20 -ffast-math "$@" <<'END'
#include <ddpm/ddpm.hpp>
END
refuse network 'network(x, t, labels, rng)' 2 -std=c++20 "$@" <<'END'
#include <ddpm/ddpm.hpp>
struct Unfinished {
  ddpm::Variable<float> operator()(const ddpm::Variable<float>& x, std::span<const double>) const {
    return x;
  }
  ddpm::Shape sample_shape(ddpm::Index count) const { return {count, 8, 8, 1}; }
  static void members(auto&, auto&&) {}
};
using Wrong = ddpm::Trainer<float, Unfinished>;
END
refuse enum_names 'without a name' 2 -std=c++20 "$@" <<'END'
#include <ddpm/core/enum_names.hpp>
enum class Colour { red, green, blue };
template <>
inline constexpr auto ddpm::enum_names<Colour> = ddpm::named<Colour>("red", "green");
END
refuse gradients 'error' 3 -std=c++20 "$@" <<'END'
#include <ddpm/ddpm.hpp>
ddpm::Variable<float> twice(const ddpm::Variable<float>& x) {
  const auto backward = [](const ddpm::Tensor<float>& dy) -> ddpm::Gradients<float, 2> {
    return {dy, dy};
  };
  return ddpm::Variable<float>::output(x.value(), {x}, backward);
}
END

cat > "$work/macros.cpp" <<'END'
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
// Names of the Windows headers and of X11.
#define small char
#define near
#define far
#define IN
#define OUT
#define ERROR 0
#define interface struct
#define None 0L
#define Success 0
#define Status int
#define Bool int
#include <ddpm/ddpm.hpp>
int main() { return max(0, min(1, int(ddpm::Tensor<float>({1}, 0.0F).size())) - 1); }
END
"$cxx" -std=c++20 "$@" -fno-rtti -fsyntax-only "$work/macros.cpp" || {
  echo "macros of other headers break ours"
  status=1
}
exit $status
