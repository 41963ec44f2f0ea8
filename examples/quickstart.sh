#!/bin/sh
# From a clone to generated pictures: installs what is missing, builds, trains on the bundled
# Fashion-MNIST images and writes out/samples.png and out/strip.png. Under ten minutes on two cores.
# Usage: examples/quickstart.sh [OPTIONS OF train_mnist]
set -eu
cd "$(dirname "$0")/.."

cmake/install_dependencies.sh g++ cmake ninja-build libeigen3-dev libxsimd-dev libstb-dev \
  zlib1g-dev nlohmann-json3-dev libcli11-dev
cmake --preset programs -G Ninja >/dev/null
echo "building, which takes about a minute"
cmake --build build --target train_mnist

build/examples/train_mnist examples/fashion/train-images-idx3-ubyte.gz \
  --network tiny --steps 1300 --minutes 5 --cosine --samples 36 --sampler ancestral --out out "$@"
echo "Look at samples.png, a grid of generated pictures, and strip.png, one coming out of the noise."
