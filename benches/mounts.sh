#!/usr/bin/env bash
# Purpose: compare larder mount restore and save, for a cache mount with a pip cache of 58 wheels, 180 MB, with what CI
#          jobs do without larder. To restore: a build with the directory as its context, which copies it into the
#          mount. To save: a build that copies the mount into an image, docker cp from a container of it, and tar and
#          zstd.
# Inputs:  ENGINE, STORE  the private engine to start, as in engine.sh (default distro, overlay2); needs root
#          LARDER         a larder to use instead of a release build of this checkout
#          ROUNDS         counted rounds of each pair (default 9, at least 5), after one round to warm up
#          SLOW=1         also measure time and memory for a mount of 60 000 files, 2 GB
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

cd "$LARDER_RUN_DIR"
step "tools" "$scripts/need.sh" jq:jq python3:python3 zstd:zstd tar:tar time:time
step "wheels" wheels
step "engine" private_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs
step "pip cache" pip_cache

target=/root/.cache/pip
mkdir "$work/app" "$work/in" "$work/out"
printf 'FROM larder-test/busybox:1\nRUN --mount=type=cache,target=%s true\n' $target >"$work/app/Dockerfile"
printf 'FROM larder-test/busybox:1\nARG STAMP\nRUN --mount=type=cache,target=%s --mount=type=bind,source=.,target=/in cp -pR /in/. %s/\n' $target $target >"$work/in/Dockerfile"
printf 'FROM larder-test/busybox:1\nARG STAMP\nRUN --mount=type=cache,target=%s mkdir /out && cp -pR %s/. /out/\n' $target $target >"$work/out/Dockerfile"

restore() { "$LARDER" mount restore "$work/app"; }
save() { "$LARDER" mount save "$work/app"; }
copy_in() { docker build --build-arg STAMP="$EPOCHREALTIME" -f "$work/in/Dockerfile" "$work/cache"; }
copy_out() {
  rm -rf "$work/copied"
  mkdir "$work/copied"
  docker build --build-arg STAMP="$EPOCHREALTIME" -t bench/out "$work/out"
  docker rm bench-out 2>/dev/null || true
  docker create --name bench-out bench/out true
  docker cp bench-out:/out - | tar -C "$work/copied" -xf -
  tar -C "$work/copied" -cf - . | zstd -q -f -3 -T0 -o "$work/copied.tar.zst"
}

# Makes the agent a fresh one: without mounts, and without contexts that were sent before.
forget() {
  docker rm bench-out >/dev/null 2>&1 || true
  docker rmi bench/out >/dev/null 2>&1 || true
  docker builder prune -af >/dev/null && sync
}
one_new_wheel() {
  wheel=$((wheel + 1))
  head -c 3000000 /dev/urandom >"$work/new/wheel-$wheel"
  docker build -q --build-arg STAMP="$EPOCHREALTIME" -f "$work/in/Dockerfile" "$work/new" >/dev/null && sync
}
mkdir "$work/new"
wheel=0

printf '\n%s, %s\n' "$(docker version --format '{{.Server.Version}}')" "${STORE:-overlay2}"
copy_in >"$work/log" 2>&1 && save >>"$work/log" 2>&1
pair "restore into an empty builder" 0.333 forget restore copy_in
pair "restore, nothing missing" 0.1 nothing restore copy_in
pair "save, nothing new" 0.067 nothing save copy_out
pair "save, one new wheel" 0.2 one_new_wheel save copy_out

# disk RESTORE SAVE: prints the megabytes that the builder uses after restoring and saving the mount.
data=$LARDER_RUN_DIR/e/bench/data
disk() {
  local before
  forget && sleep 1
  before=$(du -sk "$data" | cut -f1)
  { "$1" && "$2"; } >"$work/log" 2>&1
  echo $((($(du -sk "$data" | cut -f1) - before) / 1000))
}
compare "disk space of the builder" 0.5 "$(disk restore save)" "$(disk copy_in copy_out)" MB

# many_files: measures 60 000 files, 2 GB.
many_files() {
  local directory
  rm -rf "$work/cache"
  for directory in $(seq -w 0 599); do
    mkdir -p "$work/cache/$directory"
    (cd "$work/cache/$directory" && head -c 3400000 /dev/urandom | split -b 34000 -a 3 -d)
  done
  forget
  copy_in >"$work/log" 2>&1
  "$LARDER" cache clear -y >"$work/log" 2>&1
  command time -f '%e %M' -o "$work/many" "$LARDER" mount save --allow-shrink "$work/app" >"$work/log" 2>&1
  awk '{ printf "save 60 000 files, 2 GB: %.1f s\n", $1 }' "$work/many"
  compare "memory of it" 1 "$(awk '{ print $2 / 1000 }' "$work/many")" 200 MB
  forget
  command time -f '%e %M' -o "$work/many" "$LARDER" mount restore "$work/app" >"$work/log" 2>&1
  awk '{ printf "restore 60 000 files, 2 GB: %.1f s\n", $1 }' "$work/many"
  compare "memory of it" 1 "$(awk '{ print $2 / 1000 }' "$work/many")" 200 MB
}
if [[ -n ${SLOW:-} ]]; then many_files; fi
exit "$failed"
