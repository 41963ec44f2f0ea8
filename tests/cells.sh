#!/bin/bash
# Other instruction sets, compilers and systems, each with what it can run here; then a table of what passed.
# Usage: tests/cells.sh [CELL...]      all of them by default
set -euo pipefail
cd "$(dirname "$0")/.."
cells=("$@")
[ $# -gt 0 ] || cells=(sse2 avx avx512 amx neon windows libc++ newest-clang macos newest-libraries)
work=$PWD/build/cells
mkdir -p "$work"
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"
system="-isystem /usr/include/eigen3 -isystem /usr/include/stb"
# The tests of numbers, memory and kernels, by fives where they have no names in common: they compile in half the time.
mkdir -p "$work/fives"
ls "$PWD"/tests/core/{simd,bfloat16,random,torch_random,tensor,shape}_test.cpp "$PWD"/tests/kernels/*_test.cpp |
  awk -v to="$work/fives/" '{print "#include \"" $0 "\"" > (to int(NR / 5) ".cpp")}'
kernels="$(ls "$work"/fives/*.cpp tests/kernels/conv/*_test.cpp)"
table=""

# unit CELL COMPILER RUNNER FLAG...: these tests.
unit() {
  local cell=$1 compiler=$2 runner=$3
  shift 3
  rm -rf "${work:?}/$cell"
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
  table+=$(printf '%-14s| %-40s| %s' "$1" "$3" "${2//$work/build/cells}")$'\n'
}

# The command of the newest clang that a package has.
newest_clang() {
  if [ ! -x "$work/venv/bin/python" ]; then
    cmake/install_dependencies.sh python3-venv >&2
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet ziglang==0.17.1 >&2
  fi
  printf '#!/bin/sh\nexec "%s" -m ziglang c++ "$@"\n' "$work/venv/bin/python" >"$work/clang++"
  chmod +x "$work/clang++"
  echo "$work/clang++"
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
    amx) # compiled only, for machines without it
      for file in cmake/compiled.cpp tests/autograd/norm_conv_test.cpp tests/kernels/conv/*_test.cpp; do
        # shellcheck disable=SC2086
        g++ -std=c++20 -O0 -march=sapphirerapids -DDDPM_COMPILED $warnings -Wno-maybe-uninitialized -Wno-uninitialized \
          -Iinclude $system -S "$file" -o /dev/null
      done
      passed amx "g++ -march=sapphirerapids" "the library and its tests of convolutions compiled"
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
    newest-clang) # and its libc++, as the package ziglang has them
      program newest-clang "$(newest_clang)" "" -mcpu=x86_64_v3
      ;;
    macos) # by the same compiler: compiled and linked, but there is no Mac to run it on
      mkdir -p "$work/zlib"
      for header in nlohmann xsimd; do ln -sfn /usr/include/$header "$work/$header"; done
      cp /usr/include/zlib.h /usr/include/zconf.h "$work/zlib"
      for target in aarch64-macos x86_64-macos; do
        compiler="$(newest_clang) -target $target"
        # shellcheck disable=SC2086
        { $compiler -std=c++20 -O1 $warnings -Iinclude $system -isystem "$work" tests/consumer/plain.cpp -o "$work/$target"
          $compiler -std=c++20 -O1 $warnings -DDDPM_WITH_IO -Iinclude $system -isystem "$work" -isystem "$work/zlib" \
            -c tests/consumer/trains.cpp -o "$work/$target.o"; }
        passed $target "$compiler" "a program linked, another compiled"
      done
      ;;
    newest-libraries) # xsimd and Eigen of Debian's development release
      mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
      curl -fsS "${mirror}dists/sid/main/binary-amd64/Packages.xz" | xz -dc >"$work/packages"
      for package in libxsimd-dev xtl-dev libeigen3-dev; do # xsimd of there asks for xtl
        path=$(sed -n "/^Package: $package\$/,/^\$/s/^Filename: //p" "$work/packages")
        curl -fsS "$mirror$path" -o "$work/package.deb"
        dpkg-deb -x "$work/package.deb" "$work/newer"
      done
      cmake -S tests/consumer -B "$work/consumer" -DWAY=add_subdirectory -DDDPM_SOURCE="$PWD" -DDDPM_FETCH=OFF \
        -DCMAKE_PREFIX_PATH="$work/newer/usr" -DCMAKE_IGNORE_PATH="/usr/share/eigen3/cmake;/usr/lib/$(uname -m)-linux-gnu/cmake/xsimd" >"$work/said"
      cmake --build "$work/consumer" --target plain >>"$work/said"
      "$work/consumer/plain"
      passed eigen "$(sed -n 's/^Eigen3_DIR.*=//p' "$work/consumer/CMakeCache.txt")" "a project with the newest Eigen"
      unit xsimd g++ "" -march=x86-64-v3 -isystem "$work/newer/usr/include"
      ;;
    *)
      echo "no cell $cell" >&2
      exit 2
      ;;
  esac
done
printf '%s' "$table"
