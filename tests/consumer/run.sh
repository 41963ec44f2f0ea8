#!/bin/sh
# Every way in which a project can take the library: each builds and runs two small programs.
# Usage: run.sh BUILD_FOLDER CMAKE COMPILER
set -eu
build=$1 cmake=$2 compiler=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$cmake" --install "$build" --prefix first >/dev/null
mv first moved # a package must not know where it was
moved=$work/moved

configure() { # FOLDER OPTION...
  folder=$1
  shift
  "$cmake" -S "$here" -B "$folder" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug "$@"
}
build_and_run() { # WAY OPTION...
  way=$1
  shift
  configure "$way" -DWAY="$way" "$@" >/dev/null
  "$cmake" --build "$way" >/dev/null
  "$way/plain" && "$way/pictures"
  [ ! -e "$way/compiled" ] || "$way/compiled"
  echo "$way ok"
}

build_and_run find_package -DCMAKE_PREFIX_PATH="$moved"
build_and_run add_subdirectory -DDDPM_SOURCE="$root"
build_and_run FetchContent -DFETCHCONTENT_SOURCE_DIR_DDPM="$root"

PKG_CONFIG_PATH=$moved/share/pkgconfig
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # they are words
"$compiler" -std=c++20 "$here/plain.cpp" $(pkg-config --cflags --libs ddpm) -o plain
# shellcheck disable=SC2046
"$compiler" -std=c++20 "$here/pictures.cpp" $(pkg-config --cflags --libs ddpm-io) -o pictures
./plain && ./pictures
echo "pkg-config ok"

grep -q "\"version\": \"$(pkg-config --modversion ddpm)\"" "$root/cmake/packaging/vcpkg/ddpm/vcpkg.json"
cmp "$here/plain.cpp" "$root/cmake/packaging/conan/test_package/plain.cpp"

cp -r "$root/include" copied
"$compiler" -std=c++20 -Icopied $(pkg-config --cflags eigen3 xsimd) "$here/plain.cpp" -pthread -o plain
./plain
echo "a copied folder ok"

mkdir -p single/ddpm
"$root/cmake/single_header.py" interop/diffusers interop/onnx train/metrics >single/ddpm/ddpm.hpp
foreign=$(pkg-config --cflags ddpm-io | tr ' ' '\n' | grep -v "$moved" | sed 's/^-I/-isystem/') # all but our own
# shellcheck disable=SC2046,SC2086
"$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -Isingle $foreign \
  "$here/pictures.cpp" $(pkg-config --libs ddpm-io) -o pictures
./pictures
echo "a single header ok"

# Without a dependency, a project that asks politely goes on, and one that insists is told what is missing.
expect() { # TEXT FOLDER OPTION...
  text=$1
  shift
  configure "$@" >log 2>&1 || true
  tr -s '\n ' ' ' <log | grep -qF "$text" || { cat log; echo "expected: $text"; exit 1; }
}
for missing in Eigen3 xsimd; do
  expect "goes on without ddpm: ddpm needs $(echo $missing | tr -d 3)" quiet_$missing -DWAY=quiet \
    -DCMAKE_PREFIX_PATH="$moved" -DCMAKE_DISABLE_FIND_PACKAGE_$missing=ON
done
expect "component io needs nlohmann/json (Debian: nlohmann-json3-dev)" no_json -DWAY=find_package \
  -DCMAKE_PREFIX_PATH="$moved" -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON
expect "ddpm has no component pictures" no_component -DWAY=component -DCMAKE_PREFIX_PATH="$moved"
expect "no target ddpm::io, which reads and writes files: it needs zlib (Debian: zlib1g-dev)" no_zlib \
  -DWAY=add_subdirectory -DDDPM_SOURCE="$root" -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON
echo "missing dependencies ok"

# A library of the user's, which links ours from a sub-folder, can be installed and exported.
configure exported -DWAY=exported -DDDPM_SOURCE="$root" >/dev/null
"$cmake" --install exported --prefix theirs >/dev/null
test -f theirs/lib/cmake/theirs/theirs-targets.cmake && test -f theirs/include/ddpm/ddpm.hpp
echo "consumer ok"
