#!/usr/bin/env bash
# Purpose: fuzz the readers of what others write: Dockerfiles, ignore files, dependency files, lists of archives, what a courier and
#          larder say to each other; one target after the other.
# Inputs:  TARGET ...       of fuzz/fuzz_targets (default: all of them)
#          SECONDS_EACH     how long each runs (default 600)
#          LARDER_DEV_DIR   keeps cargo-fuzz where none is installed, and the inputs found so far, between runs
#          FUZZ_TOOLCHAIN   a nightly toolchain (default nightly; installed by rustup where it is missing)
# Outputs: libFuzzer's words on stderr; exit 1 if a target failed. The input that did it stays in fuzz/artifacts/TARGET.
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

# seeds TARGET: the folder with the inputs to begin with.
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
