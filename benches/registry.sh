#!/usr/bin/env bash
# Purpose: compare larder build --push of an image of 300 MB, on a fresh agent with a registry on the same machine: with
#          docker pull, tag and push if nothing changed, and with docker pull of :cache, docker build --cache-from and
#          docker push of both if a line of code changed. Then, on an agent with a warm engine, with docker build and
#          docker push after a changed line of code.
# Inputs:  ENGINE, STORE  the private engine to start, as in engine.sh (default distro, overlay2); needs root
#          LARDER         a larder to use instead of a release build of this checkout
#          ROUNDS         counted rounds of each pair (default 9, at least 5), after one round to warm up
# Outputs: a line for each pair: medians in milliseconds, their ratio and the bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
unset DOCKER_HOST

# project: creates $work/app with dependencies of 300 MB, which compress by an eighth, and one line of code.
project() {
  local file
  mkdir -p "$work/app/site"
  for file in $(seq -w 0 299); do
    { head -c 500000 /dev/urandom && head -c 375000 /dev/urandom | base64 -w 0; } >"$work/app/site/$file"
  done
  echo 0 >"$work/app/app.py"
  printf 'FROM larder-test/busybox:1\nCOPY site /site\nRUN cp -r /site /installed && rm -r /installed/0*\nCOPY app.py /\n' >"$work/app/Dockerfile"
}

cd "$LARDER_RUN_DIR"
step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry jq:jq python3:python3
step "engine" private_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs
step "registry" serve_registry
larder_repo=$registry/larder docker_repo=$registry/docker
step "project" project

number=0
larder_push() { "$LARDER" build --push -t "$larder_repo:$number" "$work/app"; }
docker_again() { docker pull "$docker_repo:first" && docker tag "$docker_repo:first" "$docker_repo:$number" && docker push "$docker_repo:$number"; }
docker_build() {
  docker pull "$docker_repo:cache" || true
  docker build --cache-from "$docker_repo:cache" --build-arg BUILDKIT_INLINE_CACHE=1 -t "$docker_repo:$number" -t "$docker_repo:cache" "$work/app"
  docker push "$docker_repo:$number"
  docker push "$docker_repo:cache"
}

# On an agent with a warm engine, docker only builds and pushes.
docker_push() { docker build -t "$docker_repo:$number" "$work/app" && docker push "$docker_repo:$number"; }
edit() {
  number=$((number + 1))
  echo "$number" >"$work/app/app.py"
}

# Makes the agent a fresh one, which has only the base image.
forget() {
  local images
  number=$((number + 1))
  mapfile -t images < <(docker images --format '{{.Repository}} {{.ID}}' | grep -v '^larder-test/' | cut -d ' ' -f 2 | sort -u)
  if ((${#images[@]})); then docker rmi -f "${images[@]}" >/dev/null; fi
  docker builder prune -af >/dev/null
  "$LARDER" cache clear -y &>"$work/log" && sync
}
change() {
  forget
  echo "$number" >"$work/app/app.py"
}

printf '\n%s, %s\n' "$(docker version --format '{{.Server.Version}}')" "${STORE:-overlay2}"
{ docker_build && docker tag "$docker_repo:0" "$docker_repo:first" && docker push "$docker_repo:first" && larder_push; } &>"$work/log" || { cat "$work/log" >&2 && exit 1; }
pair "nothing changed" 0.1 forget larder_push docker_again
pair "a line of code changed" 1.0 change larder_push docker_build
larder_push &>"$work/log" && docker_push &>"$work/log"
pair "a line of code changed, warm engine" 1.2+50 edit larder_push docker_push
exit "$failed"
