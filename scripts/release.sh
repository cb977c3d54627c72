#!/usr/bin/env bash
# Purpose: build the larder that is released: one static program, which includes the couriers for builders of both
#          architectures.
# Inputs:  LARDER_COURIERS  architectures of builders (default "amd64 arm64"; their musl targets must be added with rustup)
# Outputs: the program's path on stdout; exit 1 if the program is not static, or is larger than 30 MB. Needs the C
#          compiler of musl, which is installed if it is missing (root).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh musl-gcc:musl-tools readelf:binutils
target=$(uname -m)-unknown-linux-musl
[[ -d $(rustc --print target-libdir --target "$target") ]] || {
  echo "the toolchain has no target $target; run: rustup target add $target" >&2
  exit 1
}
LARDER_COURIERS=${LARDER_COURIERS:-amd64 arm64} cargo build --profile dist --target "$target"
larder=${CARGO_TARGET_DIR:-target}/$target/dist/larder

if readelf -lW "$larder" | grep -q INTERP; then
  echo "$larder is not static" >&2
  exit 1
fi
bytes=$(stat -c %s "$larder")
if ((bytes > 30000000)); then
  echo "$larder is $bytes bytes large, more than 30 MB" >&2
  exit 1
fi
"$larder" --version >&2
echo "$larder"
