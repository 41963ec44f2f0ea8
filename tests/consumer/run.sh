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
  "$cmake" --no-warn-unused-cli -S "$here" -B "$folder" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug "$@"
}
build_and_run() { # FOLDER WAY OPTION...
  folder=$1 way=$2
  shift 2
  configure "$folder" -DWAY="$way" "$@" >/dev/null
  "$cmake" --build "$folder" >/dev/null
  "$folder/plain" && "$folder/pictures"
  [ ! -e "$folder/compiled" ] || "$folder/compiled"
  echo "$folder ok"
}

build_and_run find_package find_package -DCMAKE_PREFIX_PATH="$moved"
build_and_run add_subdirectory add_subdirectory -DDDPM_SOURCE="$root"
build_and_run own_targets own_targets -DDDPM_SOURCE="$root" -DOWN_INCLUDE="$(pkg-config --cflags-only-I eigen3 | sed 's/^-I//;s/ .*//')" \
  -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DCMAKE_DISABLE_FIND_PACKAGE_xsimd=ON -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON \
  -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON
build_and_run FetchContent FetchContent -DFETCHCONTENT_SOURCE_DIR_DDPM="$root"

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
expect "component mpi needs MPI (Debian: libopenmpi-dev)" no_mpi -DWAY=mpi -DCMAKE_PREFIX_PATH="$moved" \
  -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON
expect "no target ddpm::io, which reads and writes files: it needs zlib (Debian: zlib1g-dev)" no_zlib \
  -DWAY=add_subdirectory -DDDPM_SOURCE="$root" -DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON
for missing in Eigen3 xsimd nlohmann_json; do
  expect "needs $(echo $missing | tr -d 3 | sed 's/nlohmann_json/nlohmann\/json/')" unfetched_$missing \
    -DWAY=add_subdirectory -DDDPM_SOURCE="$root" -DDDPM_FETCH=OFF -DCMAKE_DISABLE_FIND_PACKAGE_$missing=ON
done
# Who does not want ddpm::io is not asked for what it needs, nor is anything fetched for it.
configure no_io -DWAY=no_io -DDDPM_SOURCE="$root" -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON \
  -DCMAKE_IGNORE_PATH=/usr/include/stb >log
if grep -q "ddpm::io\|is taken from" log; then cat log; exit 1; fi
echo "missing dependencies ok"

# The folders of an installation may be absolute, and apart from its prefix.
"$cmake" -S "$root" -B absolute -DCMAKE_CXX_COMPILER="$compiler" -DDDPM_BUILD_TESTS=OFF -DDDPM_BUILD_EXAMPLES=OFF \
  -DDDPM_MPI=OFF -DCMAKE_INSTALL_INCLUDEDIR="$work/apart/headers" -DCMAKE_INSTALL_DATADIR="$work/apart/data" \
  -DCMAKE_INSTALL_LIBDIR="$work/apart/lib" >/dev/null
"$cmake" --install absolute --prefix "$work/prefix" >/dev/null
test ! -e "$work/prefix/include"
test "$(PKG_CONFIG_PATH=$work/apart/data/pkgconfig pkg-config --variable=includedir ddpm)" = "$work/apart/headers"
configure apart -DWAY=find_package -Dddpm_DIR="$work/apart/lib/cmake/ddpm" >/dev/null
"$cmake" --build apart --target plain >/dev/null
apart/plain
echo "absolute folders ok"

# What is not installed is fetched; here from folders, as FetchContent lets one say.
fetched() { mkdir -p "sources/$1"; ln -s "$2" "sources/$1/$3"; }
pkg_include() { # the folder that holds a header
  echo "#include <$1>" | "$compiler" -E -x c++ $(pkg-config --cflags ddpm-io) - | sed -n "s|^# 1 \"\(.*\)/$1\".*|\1|p" | head -1
}
fetched xsimd "$(pkg_include xsimd/xsimd.hpp)" include
fetched json "$(pkg_include nlohmann/json.hpp)" include
fetched eigen "$(pkg_include Eigen/Core)/Eigen" Eigen
fetched stb "$(pkg_include stb_image.h)/stb_image.h" stb_image.h
build_and_run fetched add_subdirectory -DDDPM_SOURCE="$root" -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON \
  -DCMAKE_DISABLE_FIND_PACKAGE_xsimd=ON -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON -DDDPM_STB_INCLUDE_DIR=NOTFOUND \
  -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DZLIB_ROOT=/usr \
  -DFETCHCONTENT_SOURCE_DIR_DDPM_XSIMD="$PWD/sources/xsimd" -DFETCHCONTENT_SOURCE_DIR_DDPM_JSON="$PWD/sources/json" \
  -DFETCHCONTENT_SOURCE_DIR_DDPM_EIGEN="$PWD/sources/eigen" -DFETCHCONTENT_SOURCE_DIR_DDPM_STB="$PWD/sources/stb"
test "$("$cmake" -S "$here" -B fetched | grep -c 'is not installed and is taken from')" = 4

# A library of the user's, which links ours from a sub-folder, can be installed and exported.
configure exported -DWAY=exported -DDDPM_SOURCE="$root" >/dev/null
"$cmake" --install exported --prefix theirs >/dev/null
test -f theirs/lib/cmake/theirs/theirs-targets.cmake && test -f theirs/include/ddpm/ddpm.hpp
echo "consumer ok"
