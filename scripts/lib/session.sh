# shellcheck shell=bash
# Purpose: functions for scripts that start engines: folders, timed steps, the workbench of the example, the clean-up.
#          Source this; it sets $root to the checkout.
# Inputs:  LARDER_DEV_DIR    folder that stores downloads between runs (default: larder-dev in the user's cache folder)
#          DOCKER_HOST       a running engine to use; otherwise a private engine is started
#          LARDER            a larder to use instead of one built from this checkout
#          LARDER_KEEP_LOGS  folder to which the engines' logs are copied if a run fails
# Outputs: LARDER_DEV_DIR and LARDER_RUN_DIR, exported. At exit, also after Ctrl-C, everything that was started is
#          stopped and LARDER_RUN_DIR is removed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scripts=$root/scripts
PATH=$PATH:/usr/sbin:/sbin
export LARDER_DEV_DIR=${LARDER_DEV_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/larder-dev}
LARDER_RUN_DIR=$(mktemp -d /tmp/larder.XXXXXX) # short, because a socket's path must not be longer than 107 bytes
export LARDER_RUN_DIR
# Some tests run larder as a different user, who must be able to reach the sockets in this folder.
chmod 711 "$LARDER_RUN_DIR"
# Measurements must not depend on how full the disk is.
export LARDER_MIN_FREE_GB=${LARDER_MIN_FREE_GB:-0}
echo $$ >"$LARDER_RUN_DIR/owner"
current_step=''

# release RUN_DIR: stops the servers and engines of a run, and removes its folder.
release() {
  LARDER_RUN_DIR=$1 "$scripts/wheels.sh" stop || true
  LARDER_RUN_DIR=$1 "$scripts/engine.sh" stop || true
  rm -rf "${1:?}"
}

session_end() {
  local status=$? log
  trap - EXIT
  trap '' INT TERM HUP
  if ((status)); then
    if [[ -n $current_step ]]; then echo "==> failed: $current_step" >&2; fi
    for log in "$LARDER_RUN_DIR"/e/*/log; do
      if [[ -n ${LARDER_KEEP_LOGS:-} && -e $log ]]; then
        mkdir -p "$LARDER_KEEP_LOGS" && cp "$log" "$LARDER_KEEP_LOGS/$(basename "${log%/log}").log"
      fi
    done
  fi
  release "$LARDER_RUN_DIR"
  exit "$status"
}
trap session_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Cleans up after runs that were killed. (A zombie has no command line.)
for abandoned in /tmp/larder.??????; do
  if [[ -O $abandoned && -s $abandoned/owner ]] && ! grep -qs . "/proc/$(<"$abandoned/owner")/cmdline"; then release "$abandoned"; fi
done

# step LABEL COMMAND...: runs a command, and prints the label and how long it took. A step that fails ends the script.
step() {
  local start=${EPOCHREALTIME/[.,]/} tenths
  current_step=$1
  printf '\n==> %s\n' "$1" >&2
  "${@:2}"
  tenths=$(((${EPOCHREALTIME/[.,]/} - start) / 100000))
  printf '    %s: %d.%d s\n' "$1" $((tenths / 10)) $((tenths % 10)) >&2
  current_step=''
}

# Checks that cargo is installed, and installs the C compiler and linker that some crates need.
need_rust() {
  if ! command -v cargo >/dev/null && [[ -r ${HOME:-}/.cargo/env ]]; then
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
  fi
  command -v cargo >/dev/null || {
    echo "cargo is not installed; https://rustup.rs installs the toolchain that rust-toolchain.toml names" >&2
    return 1
  }
  "$scripts/need.sh" cc:gcc cc:libc6-dev
}

# Sets LARDER to the path of a release build of this checkout, unless it is set.
build_larder() {
  if [[ -z ${LARDER:-} ]]; then
    need_rust
    cargo build --release --manifest-path "$root/Cargo.toml"
    LARDER=${CARGO_TARGET_DIR:-$root/target}/release/larder
  fi
  LARDER=$(realpath "$LARDER")
}

# Exports DOCKER_HOST and puts the engine's client first in PATH.
bench_engine() {
  if [[ -n ${DOCKER_HOST:-} ]]; then
    "$scripts/need.sh" docker:docker.io
  else
    "$scripts/engine-fetch.sh" distro
    "$scripts/engine.sh" start --name bench >"$LARDER_RUN_DIR/bench.json"
    PATH=$LARDER_DEV_DIR/engine-distro/bin:$PATH
    DOCKER_HOST=$(jq -r .host "$LARDER_RUN_DIR/bench.json")
    export DOCKER_HOST
  fi
}

bench_base() {
  BASE=$("$scripts/base-image.sh" python)
  export BASE
}

# Starts a package index on this machine, if the engine can reach it. Other engines use PyPI.
bench_index() {
  local python
  case $DOCKER_HOST in
  unix://* | tcp://127.0.0.1:* | tcp://localhost:*) ;;
  *) return 0 ;;
  esac
  python=$(docker run --rm --network none "$BASE" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  PIP_INDEX_URL=$("$scripts/wheels.sh" start "$python")
  export PIP_INDEX_URL PIP_TRUSTED_HOST=127.0.0.1 BUILD_NETWORK=host
}

# Prepares an engine, the Python base image and the package index, and exports the variables that the pipelines of the
# example read.
open_workbench() {
  step "tools" "$scripts/need.sh" curl:curl jq:jq python3:python3
  step "engine" bench_engine
  step "base image" bench_base
  step "package index" bench_index
}
