#!/usr/bin/env bash
# Purpose: compare larder with docker build. A small Python project is built and pushed from agents that start empty,
#          four times by docker and four times by larder: cold, unchanged, with a changed line of code, with a new
#          requirement.
# Inputs:  DOCKER_HOST   an engine to use; otherwise a private one is started (root). A given engine is not emptied between
#                        the builds, so it is an agent with a cache, and nothing is pushed.
#          LARDER        a larder to use instead of a debug build of this checkout; more in lib/session.sh
# Outputs: the output of both, and a table of the times; exit 1 if larder reused less than expected. Removes the
#          engines, folders and caches that it creates; on a given engine, the images larder-demo/* remain.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"
given=${DOCKER_HOST:-}
added=numpy # the requirement that the last build adds
table=$LARDER_RUN_DIR/table
number=0

cat >&2 <<'TEXT'
larder's demo (times on a machine with two cores and only cargo installed):
  1. compile larder (2 to 4 minutes), and meanwhile install and start the other parts:
     a private Docker engine, a Python base image, a package index, a registry (1 minute)
  2. build a Flask project four times with docker build and four times with larder build (1 to 2 minutes)
TEXT

compile() {
  if [[ -z ${LARDER:-} ]]; then cargo build --manifest-path "$root/Cargo.toml"; fi
}

registry_pid=''
compile_pid=''
end() {
  if [[ -n $compile_pid ]]; then pkill -P "$compile_pid" || true; fi
  if [[ -n $registry_pid ]]; then kill "$registry_pid" || true; fi
}
trap 'status=$?; set +e; end; (exit $status); session_end' EXIT

serve_registry() {
  local port
  "$scripts/need.sh" docker-registry:docker-registry
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp: { addr: "127.0.0.1:%d" }\n' "$LARDER_RUN_DIR/registry" "$port" >"$LARDER_RUN_DIR/registry.yml"
  docker-registry serve "$LARDER_RUN_DIR/registry.yml" &>"$LARDER_RUN_DIR/registry.log" &
  registry_pid=$!
  registry=127.0.0.1:$port
  curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o "$LARDER_RUN_DIR/answer" "http://$registry/v2/"
}

# The base image comes from a registry, so that its layers are not pushed with each image.
push_base() {
  docker tag "$BASE" "$registry/python:3" && docker push -q "$registry/python:3" >/dev/null
  export BASE=$registry/python:3
}

# project TOOL: copies the example for one of the tools, so that neither finds the other's layers.
project() {
  cp -r "$root/ci-examples/python-app" "$LARDER_RUN_DIR/$1"
  sed -i "/^$added==/d" "$LARDER_RUN_DIR/$1/requirements.txt"
  echo "# built by $1" >>"$LARDER_RUN_DIR/$1/requirements.txt"
}

# change TOOL WHAT
change() {
  case $2 in
  code) echo "# a change" >>"$LARDER_RUN_DIR/$1/app.py" ;;
  requirement) grep "^$added==" "$root/ci-examples/python-app/requirements.txt" >>"$LARDER_RUN_DIR/$1/requirements.txt" ;;
  esac
}

# forget: empties the agent, except for the base image.
forget() {
  local images
  if [[ -n $given ]]; then return; fi
  mapfile -t images < <(docker images -q | sort -u | grep -v "$(docker images -q "$BASE")")
  if ((${#images[@]})); then docker rmi -f "${images[@]}" >/dev/null; fi
  docker builder prune -af >/dev/null
  cache=$LARDER_RUN_DIR/agent-$((number += 1))
}

# timed COMMAND...: runs a command and sets $seconds to its duration.
timed() {
  local start=${EPOCHREALTIME/[.,]/} tenths
  "$@"
  tenths=$(((${EPOCHREALTIME/[.,]/} - start + 50000) / 100000))
  seconds=$((tenths / 10)).$((tenths % 10))
}

arguments=()
image() { echo "${registry:+$registry/}larder-demo/$1:1"; }

docker_build() {
  (cd "$LARDER_RUN_DIR/docker" && DOCKER_BUILDKIT=1 docker build -t "$(image docker)" "${arguments[@]}" .)
  if [[ -n $registry ]]; then docker push "$(image docker)"; fi
}

larder_build() {
  local flags=(--cache-dir "$cache" --metadata-file "$LARDER_RUN_DIR/metadata.json")
  if [[ -n $registry ]]; then flags+=(--push --remote "file://$LARDER_RUN_DIR/remote"); fi
  (cd "$LARDER_RUN_DIR/larder" && "$LARDER" build -t "$(image larder)" "${flags[@]}" "${arguments[@]}" .)
}

# compare LABEL CHANGE EXPECTATION: builds with both. EXPECTATION is a jq condition on larder's record.
compare() {
  local docker_seconds reused
  change docker "$2" && change larder "$2"
  printf '\n===== %s: docker build =====\n' "$1" >&2
  forget
  timed docker_build >&2
  docker_seconds=$seconds
  printf '\n===== %s: larder build =====\n' "$1" >&2
  forget
  timed larder_build
  jq -e "$3" "$LARDER_RUN_DIR/metadata.json" >/dev/null || {
    jq -c '{outcome, hit_tier, steps, mounts}' "$LARDER_RUN_DIR/metadata.json" >&2
    echo "the record of this build does not satisfy: $3" >&2
    return 1
  }
  reused=$(jq -r 'if .outcome == "image-hit" then "the whole image (\(.hit_tier))" else
    (([.mounts[].restored_bytes] | add // 0) / 1e5 | round / 10) as $megabytes |
    ([if .steps.cached > 0 then "\(.steps.cached) of \(.steps.total) steps" else empty end,
      if $megabytes > 0 then "\($megabytes) MB of cache mounts" else empty end] | join(", ")) end
    | if . == "" then "nothing" else . end' "$LARDER_RUN_DIR/metadata.json")
  printf '%s\t%s s\t%s s\t%s\n' "$1" "$docker_seconds" "$seconds" "$reused" >>"$table"
}

# Sends a request to the service in a container of the image, over its loopback device.
ask() {
  local container
  container=$(docker run -d --rm --network none "$(image larder)")
  docker exec -i "$container" python - <<'PYTHON'
import time, urllib.request
for attempt in range(100):
    try:
        print("the container answers:", urllib.request.urlopen("http://127.0.0.1:8000/").read().decode().strip())
        break
    except OSError:
        time.sleep(0.1)
else:
    raise SystemExit("the container does not answer")
PYTHON
  docker stop -t 1 "$container" >/dev/null
}

if [[ -z ${LARDER:-} ]]; then need_rust; fi
compile &>"$LARDER_RUN_DIR/compile" &
compile_pid=$!
registry=''
cache=$LARDER_RUN_DIR/agent
open_workbench
if [[ -z $given ]]; then
  step "registry" serve_registry
  step "base image in the registry" push_base
  mkdir "$LARDER_RUN_DIR/remote"
fi
printf '\n==> compiling larder\n' >&2
tail -f -n +1 --pid "$compile_pid" "$LARDER_RUN_DIR/compile" >&2
wait "$compile_pid"
compile_pid=''
printf '    set up and compiled: %d s\n' "$SECONDS" >&2
LARDER=$(realpath "${LARDER:-${CARGO_TARGET_DIR:-$root/target}/debug/larder}")
arguments=(--network "${BUILD_NETWORK:-default}" --build-arg BASE --build-arg PIP_INDEX_URL --build-arg PIP_TRUSTED_HOST)
project docker
project larder

printf '\n==> warming up: one docker build that is not counted\n' >&2
forget
docker_build &>"$LARDER_RUN_DIR/warm-up" || { cat "$LARDER_RUN_DIR/warm-up" >&2 && exit 1; }

hit='.outcome == "image-hit"'
if [[ -z $given ]]; then hit+=' and .hit_tier == "registry"'; fi
compare "cold" nothing '.outcome == "built"'
compare "unchanged" nothing "$hit"
compare "code change" code '.outcome == "built" and .steps.cached == .steps.total - 1'
compare "requirement change" requirement '.outcome == "built" and .steps.cached > 0'
step "the image runs" ask

printf '\n'
if [[ -z $given ]]; then
  echo "Build and push, each on an agent that has only the base image; registry and package index are on this machine:"
else
  echo "Builds on the given engine, whose cache is not removed:"
fi
printf '\tdocker\tlarder\tlarder reused\n' | cat - "$table" | column -t -s $'\t'
printf 'demo: larder reused what was expected (%d s in total)\n' "$SECONDS"
