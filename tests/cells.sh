#!/bin/bash
# Other instruction sets, compilers and systems, each with what it can run here; then a table of what passed.
# Usage: tests/cells.sh [CELL...]      all of them by default
set -euo pipefail
cd "$(dirname "$0")/.."
cells=("$@")
[ $# -gt 0 ] || cells=(sse2 avx avx512 neon windows libc++ xsimd)
work=$PWD/build/cells
mkdir -p "$work"
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
system="-isystem /usr/include/eigen3 -isystem /usr/include/stb"
kernels=$(ls tests/core/{simd,bfloat16,random,torch_random,tensor,shape}_test.cpp tests/kernels/*_test.cpp \
  tests/kernels/conv/*_test.cpp)
table=""

# unit CELL COMPILER RUNNER FLAG...: the tests of numbers, memory and kernels.
unit() {
  local cell=$1 compiler=$2 runner=$3
  shift 3
  mkdir -p "$work/$cell"
  # shellcheck disable=SC2086 # they are words
  printf '%s\n' tests/main.cpp $kernels | xargs -P 2 -I '{}' sh -c \
    'object="$1/$(echo "$2" | tr / _).o"; shift 2; "$@" -o "$object"' _ "$work/$cell" '{}' \
    "$compiler" -std=c++20 -O1 $warnings "$@" -Iinclude $system -c '{}'
  "$compiler" "$work/$cell"/*.o -pthread -o "$work/$cell/tests"
  # shellcheck disable=SC2086
  passed "$cell" "$compiler $*" "$($runner "$work/$cell/tests" --test-case-exclude="*presets' layers*" |
    sed -n 's/.*test cases: *\([0-9]*\) |.*/\1 tests of the kernels/p')"
}

# program CELL COMPILER RUNNER FLAG...: a program that trains, is stopped, goes on, draws and writes files.
program() {
  local cell=$1 compiler=$2 runner=$3
  shift 3
  # shellcheck disable=SC2086
  "$compiler" -std=c++20 -O1 $warnings -DDDPM_WITH_IO "$@" -Iinclude $system tests/consumer/trains.cpp \
    -o "$work/$cell.exe" -lz -pthread
  # shellcheck disable=SC2086
  (cd "$work" && $runner "$work/$cell.exe" >said) || { cat "$work/said"; exit 1; }
  passed "$cell" "$compiler $*" "$(tr -d '\r' <"$work/said")"
}

passed() {
  [ -n "$3" ] || { echo "$1: nothing was said to have passed"; exit 1; }
  table+=$(printf '%-9s| %-40s| %s' "$1" "$3" "${2//$work/build/cells}")$'\n'
}

processor_has() { grep -qw "$1" /proc/cpuinfo; }

for cell in "${cells[@]}"; do
  case $cell in
    sse2) unit sse2 g++ "" -march=x86-64 ;;
    avx) unit avx g++ "" -march=sandybridge ;;
    avx512)
      if processor_has avx512vl; then unit avx512 g++ "" -march=x86-64-v4 \
        -Wno-maybe-uninitialized -Wno-uninitialized -Wno-array-bounds; fi
      ;;
    neon)
      cmake/install_dependencies.sh g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
      unit neon aarch64-linux-gnu-g++ "qemu-aarch64 -L /usr/aarch64-linux-gnu"
      ;;
    windows)
      cmake/install_dependencies.sh g++-mingw-w64-x86-64-posix libz-mingw-w64-dev wine64
      for header in nlohmann xsimd; do ln -sfn /usr/include/$header "$work/$header"; done
      # g++ 12 takes copies of packs for overflows.
      WINEPREFIX=$work/wine WINEDEBUG=-all program windows x86_64-w64-mingw32-g++-posix /usr/lib/wine/wine64 \
        -march=x86-64-v3 -static -Wno-array-bounds -Wno-stringop-overflow -isystem "$work"
      ;;
    libc++)
      cmake/install_dependencies.sh clang-19 libc++-19-dev libc++abi-19-dev
      program libc++ clang++-19 "" -stdlib=libc++ -march=x86-64-v3
      ;;
    xsimd) # of Debian's next release
      mirror=http://deb.debian.org/debian
      package=$(curl -fsS $mirror/dists/trixie/main/binary-amd64/Packages.xz | xz -dc |
        sed -n '/^Package: libxsimd-dev$/,/^$/s/^Filename: //p')
      curl -fsS "$mirror/$package" -o "$work/xsimd.deb"
      dpkg-deb -x "$work/xsimd.deb" "$work/newer"
      unit xsimd g++ "" -march=x86-64-v3 -isystem "$work/newer/usr/include"
      ;;
    *)
      echo "no cell $cell" >&2
      exit 2
      ;;
  esac
done
printf '%s' "$table"
