#!/usr/bin/env bash
# Purpose: larder build against docker build, whole processes on one engine in one run, each pair by turns.
# Inputs:  DOCKER_HOST  an engine to use; otherwise a private one is started (root). The builds that send the whole context
#                       again empty the builder's cache in between, so they run on a private engine only.
#          LARDER       a larder to use instead of a release build of this checkout
#          ROUNDS       counted rounds of each pair (default 9, at least 5); one more is run before them to warm up
# Outputs: a line a pair: medians in milliseconds, their ratio and the bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
rounds=${ROUNDS:-9}
((rounds >= 5)) || { echo "ROUNDS must be 5 or more" >&2 && exit 2; }
given=${DOCKER_HOST:-}
failed=0

step "tools" "$scripts/need.sh" jq:jq curl:curl
step "engine" bench_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
export DOCKER_BUILDKIT=1 HOME=$LARDER_RUN_DIR/home
work=$LARDER_RUN_DIR/bench
mkdir -p "$work" "$HOME"

# tenths COMMAND...: how long it takes, in tenths of a millisecond; its output is shown only if it fails.
tenths() {
  local start=${EPOCHREALTIME/[.,]/}
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && return 1; }
  echo $(((${EPOCHREALTIME/[.,]/} - start) / 100))
}

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

# pair LABEL BOUND PREPARE LARDER DOCKER: the last three are functions; PREPARE runs before each build, untimed.
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
    printf "%-44s larder %8.1f ms   docker %8.1f ms   %5.2fx (bound %.2fx) %s\n", label, ours / 10, theirs / 10, ratio, bound, ratio <= bound ? "" : "MISSED"
    exit ratio > bound }' || failed=1
}

nothing() { :; }
forget() { docker builder prune -af >/dev/null; }

# A small project whose every step is cached.
mkdir "$work/small"
printf 'FROM larder-test/busybox:1\nCOPY . /app\nRUN echo done > /done\n' >"$work/small/Dockerfile"
echo 'print("hello")' >"$work/small/app.py"
small_larder() { "$LARDER" build -t bench/larder "$work/small"; }
small_docker() { docker build -t bench/docker "$work/small"; }

# A build that runs every step, some of them talkative.
mkdir "$work/steps"
cat >"$work/steps/Dockerfile" <<'DOCKERFILE'
FROM larder-test/busybox:1 AS build
RUN i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); echo "line $i of the build"; done
RUN dd if=/dev/zero of=/blob bs=1M count=32 2>/dev/null && sha256sum /blob
FROM larder-test/busybox:1
COPY --from=build /blob /blob
RUN sleep 0.3 && echo one > /one
RUN sleep 0.3 && echo two > /two
DOCKERFILE
steps_larder() { "$LARDER" build --no-cache -t bench/larder "$work/steps"; }
steps_docker() { docker build --no-cache -t bench/docker "$work/steps"; }

# 10 000 files, 500 MB.
large_context() {
  local directory
  for directory in $(seq -w 0 99); do
    mkdir -p "$work/large/src/$directory"
    (cd "$work/large/src/$directory" && head -c 5000000 /dev/urandom | split -b 50000 -a 3 -d)
  done
  printf 'FROM larder-test/busybox:1\nCOPY . /app\n' >"$work/large/Dockerfile"
}
large_larder() { "$LARDER" build --no-cache -t bench/larder "$work/large"; }
large_docker() { docker build --no-cache -t bench/docker "$work/large"; }

version() { "$LARDER" --version; }

printf '\n'
pair "exact hit, small project" 1.0 nothing small_larder small_docker
pair "every step runs" 1.05 nothing steps_larder steps_docker
large_context
pair "context of 10 000 files, 500 MB, sent before" 1.05 nothing large_larder large_docker
if [[ -z $given ]]; then pair "the same context, sent whole" 1.05 forget large_larder large_docker; fi

: >"$work/ours"
for ((round = 0; round < rounds; round++)); do tenths version >>"$work/ours"; done
awk -v start="$(median "$work/ours")" -v bytes="$(stat -c %s "$LARDER")" 'BEGIN {
  printf "%-44s %8.1f ms (bound 10 ms)\n%-44s %8.1f MB (bound 30 MB)\n", "start-up (larder --version)", start / 10, "binary", bytes / 1e6
  exit start > 100 || bytes > 30e6 }' || failed=1
exit $failed
