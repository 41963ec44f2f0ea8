#!/bin/sh
# Fuzzes every loader, from its corpus on: run.sh BUILD SECONDS [LOADER...]
# What is found lies in BUILD/fuzz, and the inputs that reached something new in BUILD/fuzz/LOADER.
set -eu
cd "$(dirname "$0")"
fuzz=$(realpath "../../$1") seconds=$2
shift 2
[ $# -gt 0 ] || set -- $(ls corpus)
TMPDIR=$(mktemp -d) # for the files that loaders read: they are many
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
for loader; do
  mkdir -p "$fuzz/fuzz/$loader"
  printf '%s: ' "$loader"
  DDPM_FUZZ=$loader "$fuzz/tests/ddpm_fuzz" "$fuzz/fuzz/$loader" "corpus/$loader" -max_total_time="$seconds" \
    -rss_limit_mb=700 -timeout=60 -artifact_prefix="$fuzz/fuzz/$loader-" >"$fuzz/fuzz/$loader.log" 2>&1 ||
    { cat "$fuzz/fuzz/$loader.log"; exit 1; }
  tail -n 1 "$fuzz/fuzz/$loader.log"
done
