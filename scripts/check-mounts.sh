#!/usr/bin/env bash
# Purpose: test that a pip cache outlives its builder. The example is built on a new engine, and then, with an
#          additional requirement, on a second new engine. There pip must find every old wheel in the mount that larder
#          restored, and download only the new one. Then the second engine is pruned, and larder must detect that its
#          layers and mounts were removed. Needs root, because both engines are private ones.
# Inputs:  ENGINE   distro (default) or newer, as in engine.sh
#          LARDER   a larder to use instead of a debug build of this checkout; more in lib/session.sh
# Outputs: the output of larder, and the requests to the index; exit 1 if they are not as expected.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"
unset DOCKER_HOST
engine=${ENGINE:-distro}
app=$LARDER_RUN_DIR/app
new=numpy

# new_engine NAME: starts an engine that has only the base image.
new_engine() {
  "$scripts/engine.sh" start --engine "$engine" --name "$1" >"$LARDER_RUN_DIR/$1.json"
  DOCKER_HOST=$(jq -r .host "$LARDER_RUN_DIR/$1.json")
  export DOCKER_HOST
  PATH=$(dirname "$(jq -r .docker "$LARDER_RUN_DIR/$1.json")"):$PATH
  BASE=$("$scripts/base-image.sh" python)
  export BASE
}

serve_packages() {
  local python
  python=$(docker run --rm --network none "$BASE" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  PIP_INDEX_URL=$("$scripts/wheels.sh" start "$python")
  export PIP_INDEX_URL PIP_TRUSTED_HOST=127.0.0.1
}

# build METADATA: builds the example with this run's cache directory.
build() {
  (cd "$app" && "$LARDER" build -t larder-demo/app:1 --cache-dir "$LARDER_RUN_DIR/cache" --metadata-file "$1" --network host \
    --build-arg BASE --build-arg PIP_INDEX_URL --build-arg PIP_TRUSTED_HOST .)
}

# edited_build NAME: builds with an additional line of code, and prints the prediction about the mount.
edited_build() {
  echo "# $1" >>"$app/app.py"
  build "$LARDER_RUN_DIR/$1.json" 2>"$LARDER_RUN_DIR/$1.log" || { cat "$LARDER_RUN_DIR/$1.log" >&2 && return 1; }
  jq -r '.mounts[0].prediction' "$LARDER_RUN_DIR/$1.json"
}

# wheels_asked_for: prints the packages that were requested from the index since the last call.
wheels_asked_for() {
  sed -n 's|^<LocalRequest: GET [^ ]*/packages/\([^->]*\)-[^>]*>$|\1|p' "$LARDER_RUN_DIR/wheels/log" | sort -u
  : >"$LARDER_RUN_DIR/wheels/log"
}

step "tools" "$scripts/need.sh" curl:curl jq:jq python3:python3
"$scripts/engine-fetch.sh" "$engine" >/dev/null
step "the first engine" new_engine first
step "package index" serve_packages
if [[ -z ${LARDER:-} ]]; then
  need_rust
  step "larder itself" cargo build -q --manifest-path "$root/Cargo.toml"
  LARDER=${CARGO_TARGET_DIR:-$root/target}/debug/larder
fi
LARDER=$(realpath "$LARDER")
cp -r "$root/ci-examples/python-app" "$app"
sed -i "/^$new==/d" "$app/requirements.txt"
wheels_asked_for >/dev/null

step "a build without $new" build "$LARDER_RUN_DIR/first-build.json"
first=$(wheels_asked_for)
"$scripts/engine.sh" stop first
step "the second engine" new_engine second
cp "$root/ci-examples/python-app/requirements.txt" "$app/requirements.txt"
step "a build with $new" build "$LARDER_RUN_DIR/second-build.json"
second=$(wheels_asked_for)

printf '\nrequested from the index by the first build: %s\n' "$(xargs <<<"$first")"
printf 'requested from the index by the second build: %s\n' "$(xargs <<<"$second")"
jq -c '.mounts[] | {id, kind, restored_files, restored_bytes, used_files, added_files}' "$LARDER_RUN_DIR"/*-build.json
[[ $first == *flask* && $first != *"$new"* ]] || { echo "the first build did not download what it needs" >&2 && exit 1; }
[[ $second == "$new" ]] || { echo "the second build downloaded more or less than $new" >&2 && exit 1; }
jq -e '.mounts[0] | .restored_files > 0 and .used_files > 0 and .added_files > 0' "$LARDER_RUN_DIR/second-build.json" >/dev/null

step "a build with changed code" edited_build code >"$LARDER_RUN_DIR/code.txt"
[[ $(<"$LARDER_RUN_DIR/code.txt") == right ]] || { echo "the mount was restored although the layer of its step is cached" >&2 && exit 1; }
step "a prune" docker builder prune --all --force >/dev/null
step "a build with changed code again" edited_build pruned >"$LARDER_RUN_DIR/pruned.txt"
[[ $(<"$LARDER_RUN_DIR/pruned.txt") == wrong ]] || { echo "larder did not detect that the layers were removed" >&2 && exit 1; }
grep -q 'was expected in the builder or a registry, but it was missing' "$LARDER_RUN_DIR/pruned.log"
[[ -n $(wheels_asked_for) ]] || { echo "nothing was downloaded, so the mount was not pruned" >&2 && exit 1; }
docker builder prune --all --force >/dev/null
sed -i '$s/$/ # pruned twice/' "$app/requirements.txt"
step "a build with changed requirements" edited_build dropped >/dev/null
grep -q 'the builder has deleted the cache mount //root/.cache/pip, which larder last filled at ' "$LARDER_RUN_DIR/dropped.log" ||
  { cat "$LARDER_RUN_DIR/dropped.log" >&2 && echo "larder did not detect that the mount was removed" >&2 && exit 1; }
[[ -z $(wheels_asked_for) ]] || { echo "the mount was not restored" >&2 && exit 1; }
