#!/bin/sh
# Installs the library to a folder, moves that, and builds and runs a project that finds it there.
# Usage: run.sh BUILD_FOLDER CMAKE COMPILER
set -eu
build=$1 cmake=$2 compiler=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/moved"
"$cmake" -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved" \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug >/dev/null
"$cmake" --build "$work/build" >/dev/null
cd "$work" && "$work/build/plain" && "$work/build/pictures"
echo "consumer ok"
