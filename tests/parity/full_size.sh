#!/bin/sh
# Parity of the three presets at full size with PyTorch, which must be importable by $PYTHON (python3).
# Usage: tests/parity/full_size.sh BUILD_FOLDER
set -eu
build=$(cd "${1:?usage: full_size.sh BUILD_FOLDER}" && pwd)
cmake --build "$build" --target ddpm_parity
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
for preset in ho2020_cifar10 mnist_small tutorial; do
  "${PYTHON:-python3}" export.py "$preset" "$work/$preset"
  "$build/tests/ddpm_parity" "$work/$preset" || status=1
done
exit $status
