#!/usr/bin/env bash
# Purpose: compare the archiving and loading of whole images of 1 GB by larder build with docker save, docker load, and
#          a docker build with every step cached. The image contains 58 unpacked wheels, model weights and an
#          application.
# Inputs:  ENGINE, STORE  the private engine to start, as in engine.sh (default distro, overlay2); needs root
#          LARDER         a larder to use instead of a release build of this checkout
#          ROUNDS         counted rounds of each pair (default 9, at least 5), after one round to warm up
#          SLOW=1         also measure the memory for an image of 5 GB
#          LARDER_DEV_DIR   stores the wheels between runs
# Outputs: a line for each pair: medians in milliseconds, their ratio and the bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
# shellcheck source=scripts/lib/pip-cache.sh
. "$scripts/lib/pip-cache.sh"
unset DOCKER_HOST

# project: creates $work/app, whose image has about 1 GB in three layers. The last layer is the application.
project() {
  local wheel
  mkdir -p "$work/app/site" "$work/app/src"
  for wheel in "$wheels"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/app/site"
  done
  head -c 500000000 /dev/urandom >"$work/app/weights"
  head -c 20000000 /dev/urandom >"$work/app/src/own"
  printf 'FROM larder-test/busybox:1\nCOPY site /site\nCOPY weights /weights\nCOPY src /src\nRUN test -s /src/own\n' >"$work/app/Dockerfile"
}

cd "$LARDER_RUN_DIR"
step "tools" "$scripts/need.sh" jq:jq python3:python3 time:time
step "wheels" wheels
step "engine" private_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs
step "project" project

store=$HOME/.cache/larder
build() { "$LARDER" build --enable-cache -t bench/app "$work/app"; }
keep() { "$LARDER" build --tiers archive --enable-cache -t bench/app "$work/app"; }
docker_build() { docker build -t bench/app "$work/app"; }
docker_save() { docker save -o "$work/app.tar" bench/app; }
docker_load() { docker load -i "$work/app.tar"; }

# Removes the entries and the archive, and waits until all data is written to the disk.
forget_entries() {
  rm -f "$work/app.tar"
  "$LARDER" cache clear -y >"$work/log" 2>&1 && sync
}
# Changes the application's layer and builds without archiving. The other layers are in the store already.
change() {
  rm -f "$work/app.tar"
  head -c 20000000 /dev/urandom >"$work/app/src/own"
  docker_build >"$work/log" 2>&1 && sync
}
forget_images() {
  docker rmi -f bench/app >/dev/null 2>&1 || true
  docker image prune -f >/dev/null
  docker builder prune -af >/dev/null && sync
}

printf '\n%s, %s\n' "$(docker version --format '{{.Server.Version}}')" "${STORE:-overlay2}"
docker_build >"$work/log" 2>&1 && build >>"$work/log" 2>&1
docker image inspect --format 'image: {{.Size}} bytes' bench/app
pair "hit, the image is in the engine" 1 nothing build docker_build
pair "archive it, empty store" 1.1 forget_entries keep docker_save
pair "archive it, only its last layers are new" 1.1 change keep docker_save
build >"$work/log" 2>&1 && docker_save
pair "hit, on a wiped engine" 1 forget_images build docker_load

# five: compares the disk space of five images that differ in their last layers, as entries and as archives.
five() {
  local number=0 tars=0
  forget_entries
  while ((number++ < 5)); do
    change
    keep >"$work/log" 2>&1
    docker_save
    tars=$((tars + $(stat -c %s "$work/app.tar")))
    rm "$work/app.tar"
  done
  compare "five images that share a base" 0.35 "$(($(du -sk --apparent-size "$store" | cut -f1) / 1000))" $((tars / 1000000)) MB
}
five

# large: measures an image of 5 GB.
large() {
  mkdir "$work/large"
  head -c 5000000000 /dev/urandom >"$work/large/weights"
  printf 'FROM larder-test/busybox:1\nCOPY weights /weights\n' >"$work/large/Dockerfile"
  forget_entries
  forget_images
  docker build -t bench/large "$work/large" >"$work/log" 2>&1
  command time -f '%e %M' -o "$work/memory" "$LARDER" build --enable-cache -t bench/large "$work/large" >"$work/log" 2>&1
  awk '{ printf "build, all cached, and archive 5 GB: %.1f s\n", $1 }' "$work/memory"
  compare "memory of it" 1 "$(awk '{ print $2 / 1000 }' "$work/memory")" 200 MB
  docker rmi -f bench/large >/dev/null
  docker builder prune -af >/dev/null
  command time -f '%e %M' -o "$work/memory" "$LARDER" build --enable-cache -t bench/large "$work/large" >"$work/log" 2>&1
  awk '{ printf "hit of 5 GB on a wiped engine: %.1f s\n", $1 }' "$work/memory"
  compare "memory of it" 1 "$(awk '{ print $2 / 1000 }' "$work/memory")" 200 MB
}
if [[ -n ${SLOW:-} ]]; then large; fi
exit "$failed"
