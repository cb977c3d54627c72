#!/usr/bin/env bash
# Purpose: measure a build and push on an agent that has only the base image, over a link of 200 Mbit/s, if only code or
#          a late line of the Dockerfile changed since the last push. Compares larder build --push with docker pull of
#          :cache, docker build --cache-from and docker push of both. Then measures larder without an engine, and
#          through a proxy that adds a delay of 30 ms in each direction.
# Inputs:  LARDER   a larder to use instead of a release build of this checkout
#          ROUNDS   counted rounds of each measurement (default 5, at least 5), after one round to warm up
#          needs root, for network namespaces with engines; the packages are downloaded from PyPI once
# Outputs: a line for each measurement: medians in milliseconds, bytes and bounds; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
export ROUNDS=${ROUNDS:-5}
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/venv.sh
. "$scripts/lib/venv.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
# shellcheck source=scripts/lib/agents.sh
. "$scripts/lib/agents.sh"
unset DOCKER_HOST
packages=(flask numpy pandas scipy scikit-learn requests)
work=$LARDER_RUN_DIR/graft
failed=0

clean_up() {
  local status=$?
  set +e
  stop_link
  (exit "$status")
  session_end
}

delay() {
  inside server python3 "$root/benches/delay.py" "$server:5001" "$server:5000" 30 &>"$work/delay.log" &
  pids+=($!)
}

project() {
  mkdir -p "$work/app"
  printf 'flask\nnumpy\npandas\nscipy\n' >"$work/app/requirements.txt"
  echo 'print(0)' >"$work/app/app.py"
  dockerfile 5000
}

# dockerfile PORT: writes a Dockerfile with the base image from the registry at this port.
dockerfile() {
  cat >"$work/app/Dockerfile" <<END
FROM $server:$1/base:1
WORKDIR /app
COPY requirements.txt .
RUN pip install --break-system-packages --no-cache-dir --trusted-host $server -i http://$server:8080/simple -r requirements.txt
COPY . .
CMD ["python3", "app.py"]
END
}

number=0
code() { number=$((number + 1)) && echo "print($number)" >"$work/app/app.py"; }
late_line() { number=$((number + 1)) && dockerfile "$port" && echo "ENV LATE=$number" >>"$work/app/Dockerfile"; }

larder() { inside agent env HOME="$work/home" "$LARDER" build --network host --push -t "$server:$port/larder:$number" "$work/app"; }
peer() {
  local repository=$server:$port/peer
  docker pull "$repository:cache" || true
  docker build --network host --cache-from "$repository:cache" --build-arg BUILDKIT_INLINE_CACHE=1 -t "$repository:$number" -t "$repository:cache" "$work/app" &&
    docker push "$repository:$number" && docker push "$repository:cache"
}

# figures FUNCTION CHANGE AGENT: times FUNCTION on fresh agents (fresh) or without an engine (none), after CHANGE.
# Writes the times to $work/FUNCTION and sets $bytes to the largest number of bytes that an agent transferred.
figures() {
  local round before tenths
  : >"$work/$1" && bytes=0
  for ((round = 0; round <= rounds; round++)); do
    "$2"
    if [[ $3 == fresh ]]; then start_agent; else export DOCKER_HOST=unix://$work/no.sock; fi
    before=$(moved)
    tenths=$(tenths "$1")
    if ((round)); then
      echo "$tenths" >>"$work/$1"
      bytes=$(($(moved) - before > bytes ? $(moved) - before : bytes))
    fi
    if [[ $1 == larder ]] && ! grep -q 'graft *hit' "$work/log"; then cat "$work/log" >&2 && return 1; fi
    stop_agent
  done
}

# bounded LABEL MILLISECONDS: compares the last figures of larder with bounds.
bounded() {
  awk -v label="$1" -v bound="$2" -v ours="$(median "$work/larder")" -v bytes="$bytes" 'BEGIN {
    is_met = ours <= bound * 10 && bytes <= 1000000
    printf "%-44s larder %8.1f ms (bound %d), %7d bytes (bound 1000000) %s\n", label, ours / 10, bound, bytes, is_met ? "" : "MISSED"
    exit !is_met }' || failed=1
}

cd "$LARDER_RUN_DIR"
mkdir -p "$work/home"
trap clean_up EXIT
step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry jq:jq python3:python3 ip:iproute2 openssl:openssl
step "engine" bench_engine
step "base image" bench_base
python=$(docker run --rm --network none "$BASE" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
docker tag "$BASE" "$server:5000/base:1" && docker tag "$BASE" "$server:5001/base:1"
docker save -o "$work/base.tar" "$server:5000/base:1" "$server:5001/base:1"
"$scripts/engine.sh" stop bench
unset DOCKER_HOST
step "larder itself" build_larder
step "link" link
step "package index" index
step "registry" registry
step "proxy" delay
step "project" project

port=5000
start_agent
{ docker push "$server:5000/base:1" && peer && larder; } &>"$work/log" || { cat "$work/log" >&2 && exit 1; }
stop_agent

echo
for change in code late_line; do
  step "$change" figures larder "$change" fresh
  bounded "$change" 1500
  cp "$work/larder" "$work/ours"
  step "$change, peer" figures peer "$change" fresh
  compare "$change, seconds" 0.15 "$(($(median "$work/ours") / 10))e-3" "$(($(median "$work/peer") / 10))e-3" s
done
for change in code late_line; do
  step "$change, no engine" figures larder "$change" none
  bounded "$change, no engine" 1500
done
# A different name makes it a different base image.
port=5001
dockerfile 5001
start_agent
larder &>"$work/log" || { cat "$work/log" >&2 && exit 1; }
stop_agent
for agent_kind in fresh none; do
  for change in code late_line; do
    step "$change, 30 ms, $agent_kind" figures larder "$change" "$agent_kind"
    bounded "$change, 30 ms each way, engine: $agent_kind" 2500
  done
done
exit "$failed"
