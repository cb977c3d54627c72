#!/usr/bin/env bash
# Purpose: run the test suite on real engines: starts the engines, runs the Rust tests, the static checks and the
#          pipelines.
# Inputs:  DOCKER_HOST   use only this engine (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH if it has TLS);
#                        otherwise private engines are started, which needs root
#          LARDER_TEST_BUILDKIT   unix://... or tcp://... without TLS: a Docker engine from 29.2 on, or a buildkitd; the tests
#                        of the direct transport then use it as well as their own server
#          LARDER_TEST_FULL=1     tests at full size, on every combination of engine and image store, and the checks that
#                        build on several new engines; `make test-full` sets this before a release
#          arguments     passed to `cargo nextest run` (or `cargo test`); then only the Rust tests run
#          more in lib/session.sh and check-pipelines.sh
# Outputs: exit 1 if anything failed. All checks run to their end, and the last lines list their times and results.
#
# LARDER_TEST_ENGINES describes the engines for the Rust tests. It is the path of a file with one JSON object per line:
#   name           docker-20.10, docker-28.5, docker-28.5-containerd (depending on the versions), tls, small, guarded; or given
#   version        the engine's version, e.g. "20.10.24+dfsg1"
#   host           unix:///... or tcp://127.0.0.1:PORT, in the form of DOCKER_HOST
#   store          "overlay2" or "containerd": how the engine stores images
#   docker         path of the Docker client that belongs to the engine, with which larder is compared
#   docker_config  DOCKER_CONFIG for that client; it contains the engine's buildx, if it has one
#   buildx         true if that client builds with buildx; if false, DOCKER_BUILDKIT=1 makes it use BuildKit
#   certs          "" or, for TLS, the folder with ca.pem, cert.pem and key.pem; for tls also wrong/ with the same three
#                  files from an authority that the engine does not trust
# Every engine has the image larder-test/busybox:1 (the user app has uid 1000). No engine can reach Docker Hub.
# Containers on the default network can reach the machine, but not the internet. small has its data root on a file
# system of 120 MB. guarded does not allow builds to use the machine's network. The variables of object-stores.sh
# contain the paths of the object stores, which the tests start.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"
cd "$root"
export LARDER_TEST_ENGINES=$LARDER_RUN_DIR/engines.jsonl
# Engines and their clients are written in Go. Less frequent garbage collection saves a tenth of the suite's time.
export GOGC=400
export LARDER=${LARDER:-${CARGO_TARGET_DIR:-$root/target}/debug/larder}
report=()
failed=0

# report LABEL SECONDS OUTCOME: adds a check to the report at the end.
report() {
  report+=("$(printf '%-6s %4d s  %s' "$3" "$2" "$1")")
  if [[ $3 == FAILED ]]; then failed=1; fi
}

# check LABEL COMMAND...: runs a check to its end and reports its time and outcome.
check() {
  local start=$SECONDS outcome=ok
  printf '\n==> %s\n' "$1" >&2
  "${@:2}" || outcome=FAILED
  report "$1" $((SECONDS - start)) "$outcome"
}

# beside NAME COMMAND...: starts a check in the background. settle prints its output.
beside() {
  local log=$LARDER_RUN_DIR/beside-$1
  (
    trap - EXIT
    start=$SECONDS outcome=ok
    "${@:2}" || outcome=FAILED
    printf '%s %s\n' $((SECONDS - start)) "$outcome" >"$log.outcome"
  ) &>"$log" </dev/null &
  echo $! >"$log.pid"
}

# Ends the checks in the background.
end_beside() {
  local pid
  for pid in "$LARDER_RUN_DIR"/beside-*.pid; do
    if [[ -s $pid ]]; then pkill -P "$(<"$pid")" && wait "$(<"$pid")"; fi 2>/dev/null
  done
}
trap 'status=$?; set +e; end_beside; (exit $status); session_end' EXIT

# settle LABEL NAME: waits for a check that beside started, prints its output, and reports its time and outcome.
settle() {
  local log=$LARDER_RUN_DIR/beside-$2 seconds=0 outcome=FAILED
  wait "$(<"$log.pid")" || true
  printf '\n==> %s\n' "$1" >&2
  cat "$log" >&2
  if [[ -s $log.outcome ]]; then read -r seconds outcome <"$log.outcome"; fi
  report "$1" "$seconds" "$outcome"
}

# The tests' images are small: with enough memory, the engines store them on a tmpfs.
memory=()
if (($(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) > 12000000)); then memory=(--size 4G); fi

start_engines() {
  local version newer
  version=$("$scripts/engine-fetch.sh" distro)
  newer=$("$scripts/engine-fetch.sh" newer) || {
    if (($? != 3)); then return 1; fi
    newer=$version
  }
  {
    "$scripts/engine.sh" start "${memory[@]}"
    if [[ $newer != "$version" ]]; then
      "$scripts/engine.sh" start --engine newer "${memory[@]}"
      "$scripts/engine.sh" start --engine newer --store containerd "${memory[@]}"
    else
      echo "SKIPPED: no engine newer than $version is available; the tests for newer engines do not run" >&2
    fi
    "$scripts/engine.sh" start --name tls --tls
    "$scripts/engine.sh" start --name small --size 120M
    "$scripts/engine.sh" start --name guarded --no-host-network
  } >"$LARDER_TEST_ENGINES"
}

describe_given_engine() {
  local store=overlay2 buildx=false
  "$scripts/need.sh" docker:docker.io
  if docker info --format '{{json .DriverStatus}}' | grep -q io.containerd.snapshotter; then store=containerd; fi
  if docker buildx version >/dev/null 2>&1; then buildx=true; fi
  jq -nc --arg version "$(docker version --format '{{.Server.Version}}')" --arg host "$DOCKER_HOST" --arg store "$store" \
    --arg docker "$(command -v docker)" --arg config "${DOCKER_CONFIG:-${HOME:-/root}/.docker}" --argjson buildx "$buildx" \
    --arg certs "${DOCKER_CERT_PATH:-}" \
    '{name: "given", version: $version, host: $host, store: $store, docker: $docker, docker_config: $config, buildx: $buildx, certs: $certs}' \
    >"$LARDER_TEST_ENGINES"
}

# import_busybox HOST DOCKER DOCKER_CONFIG CERTS
import_busybox() {
  local -a with=(DOCKER_HOST="$1" DOCKER="$2" DOCKER_CONFIG="$3" DOCKER_BUILDKIT=1)
  if [[ -n $4 ]]; then with+=(DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$4"); fi
  env "${with[@]}" "$scripts/base-image.sh" busybox >/dev/null
  # In 20.10, two parallel first builds on a base lose the cache of one of them. Tests would mistake that for a changed
  # key.
  printf 'FROM larder-test/busybox:1\nRUN true\n' | env "${with[@]}" "$2" build -q - >/dev/null
}

engines() {
  local host docker config certs
  if [[ -n ${DOCKER_HOST:-} ]]; then describe_given_engine; else start_engines; fi
  while IFS=$'\t' read -r host docker config certs; do
    import_busybox "$host" "$docker" "$config" "$certs"
  done < <(jq -r '[.host, .docker, .docker_config, .certs] | @tsv' "$LARDER_TEST_ENGINES")
  jq -r '"    \(.name): \(.version), \(.store), \(.host)"' "$LARDER_TEST_ENGINES"
}

# Compiles everything that the suite needs. A build with different features would compile most crates again.
compile() {
  if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --no-run; else cargo test --no-run; fi
}

rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@" && if (($# == 0)); then cargo test -q --doc; fi
  else
    cargo test --no-fail-fast "$@"
  fi
}

step "tools" "$scripts/need.sh" chromium:chromium chromium:fonts-dejavu-core cmark-gfm:cmark-gfm curl:curl docker-registry:docker-registry git:git jq:jq jsonschema:python3-jsonschema make:make nginx:nginx-light promtool:prometheus script:bsdutils shellcheck:shellcheck ssh-agent:openssh-client setpriv:util-linux xmllint:libxml2-utils
step "Rust" need_rust
# Engines and object stores are installed and started while cargo compiles the tests.
beside engines engines
beside object-stores "$scripts/object-stores.sh"
check "compiling" compile
settle "engines" engines
settle "object stores" object-stores
((failed == 0)) || { printf '%s\n' "${report[@]}" && exit 1; }
eval "$("$scripts/object-stores.sh")"

if (($# == 0)); then beside static nice -n 19 make --no-print-directory check; fi
check "Rust tests" rust_tests "$@"
if (($# == 0)); then
  settle "static checks" static
  check "pipelines" "$scripts/check-pipelines.sh"
  if [[ -n ${LARDER_TEST_FULL:-} ]] && ((EUID == 0)); then
    check "cache mounts on a new engine" "$scripts/check-mounts.sh"
    check "registries and new engines" "$scripts/check-registry.sh"
  fi
fi

printf '\n'
printf '%s\n' "${report[@]}"
printf '%s in %d min %02d s\n' "$( ((failed)) && echo "make test: FAILED" || echo "make test: everything passed")" $((SECONDS / 60)) $((SECONDS % 60))
((failed == 0))
