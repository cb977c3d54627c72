#!/usr/bin/env bash
# Purpose: compare larder's push with docker push, for an image whose layers are not in the registry, which is on the
#          same machine: one layer of 400 MB, and five layers of 80 MB, of installed Python packages. Time, and bytes in
#          the registry.
# Inputs:  ENGINE, STORE  the private engine to start, as in engine.sh (default distro, overlay2); needs root
#          LARDER         a larder to use instead of a release build of this checkout
#          ROUNDS         counted rounds of each pair (default 9, at least 5), after one round to warm up
#          LARDER_DEV_DIR   stores the wheels between runs
# Outputs: a line for each pair: medians in milliseconds or bytes, ratio and bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
# shellcheck source=scripts/lib/pip-cache.sh
. "$scripts/lib/pip-cache.sh"
unset DOCKER_HOST

# project: creates $work/one and $work/five with the same 400 MB of installed packages, in one layer and in five.
project() {
  local wheel number
  mkdir -p "$work/site" "$work/one/0" "$work/five"
  for wheel in "$wheels"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/site"
  done
  # Files ordered by name, up to five times 80 MB.
  (cd "$work/site" && find . -type f -printf '%s %P\0' | LC_ALL=C sort -z -k 2) | python3 -c '
import os, shutil, sys
site, one, five = sys.argv[1:]
part, size = 0, 0
for line in sys.stdin.buffer.read().split(b"\0")[:-1]:
    length, name = line.decode().split(" ", 1)
    if size + int(length) > 80_000_000:
        part, size = part + 1, 0
        if part == 5:
            break
    size += int(length)
    for place in (f"{five}/{part}", f"{one}/0"):
        os.makedirs(os.path.dirname(f"{place}/{name}"), exist_ok=True)
        shutil.copy(f"{site}/{name}", f"{place}/{name}")
' "$work/site" "$work/one" "$work/five"
  echo 'FROM larder-test/busybox:1' | tee "$work/one/Dockerfile" >"$work/five/Dockerfile"
  echo 'COPY 0 /site' >>"$work/one/Dockerfile"
  for number in {0..4}; do echo "COPY $number /site" >>"$work/five/Dockerfile"; done
}

# empty: empties the registry. The engine removes its record of a pushed blob if the registry does not have the blob.
empty() { serve_registry && sync; }

cd "$LARDER_RUN_DIR"
step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry jq:jq python3:python3
step "wheels" wheels
step "engine" private_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs
step "registry" serve_registry
step "project" project

larder_push() { "$LARDER" build --tiers engine --push -t "$registry/larder:$1" "$work/$1"; }
docker_push() { docker push "$registry/docker:$1"; }
larder_one() { larder_push one; }
larder_five() { larder_push five; }
docker_one() { docker_push one; }
docker_five() { docker_push five; }
size() { curl -sS -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' "http://$registry/v2/$1/manifests/$2" | jq '[.layers[].size] | add'; }

printf '\n%s, %s\n' "$(docker version --format '{{.Server.Version}}')" "${STORE:-overlay2}"
for project in one five; do
  "$LARDER" build --tiers engine -t "$registry/larder:$project" "$work/$project" &>"$work/log" || { cat "$work/log" >&2 && exit 1; }
  docker tag "$registry/larder:$project" "$registry/docker:$project"
done
pair "push one new layer of 400 MB" 0.5 empty larder_one docker_one
pair "push five new layers of 80 MB" 0.5 empty larder_five docker_five
{ larder_one && larder_five && docker_one && docker_five; } &>"$work/log"
for project in one five; do
  compare "bytes of $project" 1.05 "$(($(size larder "$project") / 1000))" "$(($(size docker "$project") / 1000))" kB
done
exit "$failed"
