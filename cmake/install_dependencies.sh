#!/bin/sh
# Installs what is missing of the packages it is given, by their Debian names; where there is no apt,
# or no right to use it, it names them instead.
# Usage: install_dependencies.sh PACKAGE...
set -eu

missing=""
for package in "$@"; do
  case $package in
    g++) command -v g++ >/dev/null 2>&1 && continue ;;
    cmake) command -v cmake >/dev/null 2>&1 && continue ;;
    ninja-build) command -v ninja >/dev/null 2>&1 && continue ;;
    python3) command -v python3 >/dev/null 2>&1 && continue ;;
  esac
  if command -v dpkg-query >/dev/null 2>&1 &&
     dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
    continue
  fi
  missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "This system has no apt. Needed, by the names of Debian's packages:$missing" >&2
  echo "Going on in the hope that they are there under other names." >&2
  exit 0
fi
root=""
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "Please install, as root: apt-get install$missing" >&2
    exit 1
  fi
  root=sudo
fi
echo "installing:$missing"
# A list of packages from the image may be old; fetch it only if it has to be.
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
# shellcheck disable=SC2086
$root apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
  $root apt-get update -qq
  $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
