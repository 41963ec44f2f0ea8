#!/bin/sh
# Installs what is missing, builds and runs every test.
# Usage: tests/run.sh [PRESET]     release (default), dev, debug, asan, tsan or ci; see CMakePresets.json
#        tests/run.sh fuzz [SECONDS]     every loader with random bytes, for so long each (default 20)
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}

cmake/install_dependencies.sh g++ cmake ninja-build python3 libeigen3-dev libxsimd-dev libstb-dev \
  zlib1g-dev nlohmann-json3-dev libcli11-dev doctest-dev pkg-config
case $preset in
  ci) cmake/install_dependencies.sh clang libbenchmark-dev ;;
  asan | fuzz) cmake/install_dependencies.sh clang libclang-rt-14-dev ;;
  dev) cmake/install_dependencies.sh libbenchmark-dev ;;
esac
cmake --preset "$preset" -G Ninja >/dev/null
build=build
[ "$preset" = release ] || build=build-$preset
if [ "$preset" = fuzz ]; then
  cmake --build "$build" --target ddpm_fuzz
  exec tests/fuzz/run.sh "$build" "${2:-20}"
fi
cmake --build "$build" --target tests
# Every header by itself: g++ looks at them in release.
[ "$preset" = ci ] && set -- --exclude-regex headers_alone || set --
ctest --test-dir "$build" --output-on-failure --parallel 2 "$@"
