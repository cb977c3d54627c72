#!/usr/bin/env bash
# Purpose: compare larder build with docker build: whole processes on one engine, alternating.
#          images.sh measures the archiving of images.
# Inputs:  DOCKER_HOST  an engine to use; otherwise a private one is started (root). Builds that send the whole context
#                       again empty the builder's cache first, so they run only on a private engine.
#          LARDER       a larder to use instead of a release build of this checkout
#          ROUNDS       counted rounds of each pair (default 9, at least 5), after one round to warm up
# Outputs: a line for each pair: medians in milliseconds, their ratio and the bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
given=${DOCKER_HOST:-}

step "tools" "$scripts/need.sh" jq:jq curl:curl
step "engine" bench_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs

# Data of the previous build is written to the disk first, so that it does not slow down the next build.
settle() { sync; }
forget() { docker builder prune -af >/dev/null && sync; }

# A small project of which every step is cached.
mkdir "$work/small"
printf 'FROM larder-test/busybox:1\nCOPY . /app\nRUN echo done > /done\n' >"$work/small/Dockerfile"
echo 'print("hello")' >"$work/small/app.py"
small_larder() { "$LARDER" build -t bench/larder "$work/small"; }
small_docker() { docker build -t bench/docker "$work/small"; }

# A changed line of code on an agent with a warm engine, with default flags: an image of 480 MB with one new layer.
mkdir "$work/code"
echo flask >"$work/code/requirements.txt"
cat >"$work/code/Dockerfile" <<'DOCKERFILE'
FROM larder-test/busybox:1
COPY requirements.txt /
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt || head -c 480000000 /dev/urandom >/installed
COPY app.py /
CMD ["sh"]
DOCKERFILE
edit() { echo "print($RANDOM$RANDOM)" >"$work/code/app.py"; }
code_larder() { "$LARDER" build -t bench/larder "$work/code"; }
code_docker() { docker build -t bench/docker "$work/code"; }

# A build that runs every step, some of them with much output.
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
steps_larder() { "$LARDER" build --tiers engine,mounts --no-cache -t bench/larder "$work/steps"; }
steps_docker() { docker build --no-cache -t bench/docker "$work/steps"; }

# 10 000 files, 500 MB.
large_larder() { "$LARDER" build --tiers engine,mounts --no-cache -t bench/larder "$work/large"; }
large_docker() { docker build --no-cache -t bench/docker "$work/large"; }

version() { "$LARDER" --version; }

printf '\n'
pair "exact hit, small project" 0.5 nothing small_larder small_docker
pair "a line of code changed, warm engine" 1.1+50 edit code_larder code_docker
pair "every step runs" 1.05 nothing steps_larder steps_docker
large_context
pair "context of 10 000 files, 500 MB, sent before" 1.05 settle large_larder large_docker
if [[ -z $given ]]; then pair "the same context, sent whole" 1.05 forget large_larder large_docker; fi

: >"$work/ours"
for ((round = 0; round < rounds; round++)); do tenths version >>"$work/ours"; done
awk -v start="$(median "$work/ours")" 'BEGIN {
  printf "%-44s %8.1f ms (bound 10 ms)\n", "start-up (larder --version)", start / 10
  exit start > 100 }' || failed=1
exit $failed
