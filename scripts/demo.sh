#!/usr/bin/env bash
# Purpose: show larder at work: the example's image is built three times (nothing known yet, nothing changed, one line of
#          code changed), and every build is checked for what it was meant to hit.
# Inputs:  DOCKER_HOST   an engine to use; otherwise a private one is started (root)
#          LARDER        a larder to use instead of building this checkout; more in lib/session.sh
# Outputs: what larder prints; exit 1 if a build did not hit what it should have. Leaves no engine, folder or cache behind;
#          a given engine keeps the images larder-demo/*.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"

open_workbench
step "larder itself" build_larder

app=$LARDER_RUN_DIR/app
store=$LARDER_RUN_DIR/store
cp -r "$root/ci-examples/python-app" "$app"

# build WHAT EXPECTATION: builds the example; EXPECTATION is a jq condition on the build's metadata.
build() {
  local metadata=$LARDER_RUN_DIR/metadata.json
  printf '\n===== %s =====\n' "$1" >&2
  (cd "$app" && "$LARDER" build -t larder-demo/app:1 --cache-dir "$store" --metadata-file "$metadata" --network "${BUILD_NETWORK:-default}" \
    --build-arg BASE --build-arg PIP_INDEX_URL --build-arg PIP_TRUSTED_HOST .)
  jq -c '{outcome, hit_tier, steps, millis}' "$metadata" >&2
  jq -e "$2" "$metadata" >/dev/null || {
    echo "this build was to satisfy: $2" >&2
    return 1
  }
}

# Asks the service in a container of the image; its loopback device is all the network that this takes.
ask() {
  local container
  container=$(docker run -d --rm --network none larder-demo/app:1)
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

step "first build" build "1 of 3: nothing is known yet" '.outcome == "built"'
step "second build" build "2 of 3: nothing has changed" '.outcome == "image-hit" and .hit_tier == "engine"'
echo '# a change' >>"$app/app.py"
step "third build" build "3 of 3: one line of code has changed" '.outcome == "built" and .steps.cached > 0'
step "the image runs" ask

printf '\n===== larder stats =====\n' >&2
"$LARDER" stats --cache-dir "$store"
printf '\ndemo: all three builds hit what they should have (%d s)\n' "$SECONDS" >&2
