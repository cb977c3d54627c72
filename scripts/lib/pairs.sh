# shellcheck shell=bash
# Purpose: functions for benchmarks: alternating timing of two commands, and the large context. Source this after
#          session.sh.
# Inputs:  ROUNDS  counted rounds of each pair (default 9, at least 5), after one round to warm up
#          ENGINE, STORE  the engine that private_engine starts, as in engine.sh (default distro, overlay2)
# Outputs: after start_pairs: $work, an empty folder; $failed, 1 if a bound was missed
# shellcheck disable=SC2034,SC2154 # the sourcing script reads $failed; $scripts comes from session.sh
rounds=${ROUNDS:-9}
((rounds >= 5)) || { echo "ROUNDS must be 5 or more" >&2 && exit 2; }
failed=0

# start_pairs: creates a home and a work folder for the benchmark, and enables BuildKit for the peer.
start_pairs() {
  export DOCKER_BUILDKIT=1 HOME=$LARDER_RUN_DIR/home
  work=$LARDER_RUN_DIR/bench
  mkdir -p "$work" "$HOME"
}

# private_engine: starts the engine that ENGINE and STORE select, and uses it from then on.
private_engine() {
  "$scripts/engine-fetch.sh" "${ENGINE:-distro}"
  "$scripts/engine.sh" start --engine "${ENGINE:-distro}" --store "${STORE:-overlay2}" --name bench >"$LARDER_RUN_DIR/bench.json"
  PATH=$(dirname "$(jq -r .docker "$LARDER_RUN_DIR/bench.json")"):$PATH
  DOCKER_HOST=$(jq -r .host "$LARDER_RUN_DIR/bench.json")
  DOCKER_CONFIG=$(jq -r .docker_config "$LARDER_RUN_DIR/bench.json")
  export DOCKER_HOST DOCKER_CONFIG
}

# tenths COMMAND...: prints how long a command takes, in tenths of a millisecond. Its output is shown only if it fails.
tenths() {
  local start=${EPOCHREALTIME/[.,]/}
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && return 1; }
  echo $(((${EPOCHREALTIME/[.,]/} - start) / 100))
}

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

# pair LABEL BOUND PREPARE LARDER PEER: times two functions. PREPARE is a function that runs before each of them,
# untimed. BOUND is a ratio, to which milliseconds can be added: 1.1+50.
pair() {
  local round ours theirs
  : >"$work/ours" && : >"$work/theirs"
  for ((round = 0; round <= rounds; round++)); do
    "$3" && ours=$(tenths "$4")
    "$3" && theirs=$(tenths "$5")
    if ((round)); then echo "$ours" >>"$work/ours" && echo "$theirs" >>"$work/theirs"; fi
  done
  awk -v label="$1" -v bound="$2" -v ours="$(median "$work/ours")" -v theirs="$(median "$work/theirs")" 'BEGIN {
    ratio = ours / theirs
    split(bound, parts, "+")
    is_met = ours <= parts[1] * theirs + parts[2] * 10
    wanted = sprintf("%.2fx", parts[1]) (parts[2] ? sprintf(" + %d ms", parts[2]) : "")
    printf "%-44s larder %8.1f ms   peer %8.1f ms   %5.2fx (bound %s) %s\n", label, ours / 10, theirs / 10, ratio, wanted, is_met ? "" : "MISSED"
    exit !is_met }' || failed=1
}

# compare LABEL BOUND OURS THEIRS UNIT: prints a line for values that are not times.
compare() {
  awk -v label="$1" -v bound="$2" -v ours="$3" -v theirs="$4" -v unit="$5" 'BEGIN {
    ratio = ours / theirs
    printf "%-44s larder %8.1f %s   peer %8.1f %s   %5.2fx (bound %.2fx) %s\n", label, ours, unit, theirs, unit, ratio, bound, ratio <= bound ? "" : "MISSED"
    exit ratio > bound }' || failed=1
}

nothing() { :; }

# large_context: creates $work/large with 10 000 files of 50 kB, and a Dockerfile that copies all of them.
large_context() {
  local directory
  for directory in $(seq -w 0 99); do
    mkdir -p "$work/large/src/$directory"
    (cd "$work/large/src/$directory" && head -c 5000000 /dev/urandom | split -b 50000 -a 3 -d)
  done
  printf 'FROM larder-test/busybox:1\nCOPY . /app\n' >"$work/large/Dockerfile"
}

# serve_registry: starts an empty registry on a free port. Later calls empty it and start it on the same port. Sets
# $registry to its address, and stops it at exit.
registry_pid=''
serve_registry() {
  if [[ -n $registry_pid ]]; then
    kill "$registry_pid"
    wait "$registry_pid" || true
    rm -rf "$work/registry"
  else
    registry=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    trap 'status=$?; kill "$registry_pid" || true; set +e; (exit $status); session_end' EXIT
  fi
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s } }\nhttp: { addr: "%s" }\n' "$work/registry" "$registry" >"$work/registry.yml"
  docker-registry serve "$work/registry.yml" &>"$work/registry.log" &
  registry_pid=$!
  curl -s --retry 50 --retry-connrefused --retry-delay 1 -o "$work/answer" "http://$registry/v2/"
}
