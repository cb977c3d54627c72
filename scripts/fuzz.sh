#!/usr/bin/env bash
# Purpose: fuzz the parsers of untrusted input: Dockerfiles, ignore files, dependency files, listings of archives, and
#          both sides of the courier's protocol; one target after the other.
# Inputs:  TARGET ...       names from fuzz/fuzz_targets (default: all of them)
#          SECONDS_EACH     how long each target runs (default 600)
#          LARDER_DEV_DIR   stores cargo-fuzz, if it is not installed, and the inputs found so far, between runs
#          FUZZ_TOOLCHAIN   a nightly toolchain (default nightly; installed with rustup if it is missing)
# Outputs: libFuzzer's output on stderr; exit 1 if a target failed. The failing input is in fuzz/artifacts/TARGET.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dev=${LARDER_DEV_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/larder-dev}
toolchain=${FUZZ_TOOLCHAIN:-nightly}
PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$dev/cargo-fuzz/bin
cd "$root"
failed=()

"$root/scripts/need.sh" c++:g++
rustup run "$toolchain" rustc --version >/dev/null 2>&1 || rustup toolchain install --profile minimal "$toolchain"
command -v cargo-fuzz >/dev/null || cargo install --locked --root "$dev/cargo-fuzz" cargo-fuzz

if (($#)); then
  targets=("$@")
else
  targets=(fuzz/fuzz_targets/*.rs)
  targets=("${targets[@]##*/}")
  targets=("${targets[@]%.rs}")
fi

# seeds TARGET: prints the folder with the initial inputs.
seeds() {
  case $1 in
  dockerfile) echo tests/corpus/dockerfiles ;;
  *) echo "fuzz/seeds/$1" ;;
  esac
}

for target in "${targets[@]}"; do
  found=$dev/fuzz/$target
  mkdir -p "$found"
  printf '\n==> %s, %s s\n' "$target" "${SECONDS_EACH:-600}" >&2
  RUSTUP_TOOLCHAIN=$toolchain cargo fuzz run "$target" "$found" "$(seeds "$target")" -- \
    -max_total_time="${SECONDS_EACH:-600}" -timeout=10 -max_len=8192 -print_final_stats=1 >&2 || failed+=("$target")
done

if ((${#failed[@]})); then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
