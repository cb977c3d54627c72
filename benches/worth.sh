#!/usr/bin/env bash
# Purpose: check the time that larder says it saved. Each commit is built and pushed by docker and by larder, on copies of
#          the same data root of an engine, and larder's figure is compared with the measured difference. Also measures
#          `larder stats` with a ledger of 20 000 builds.
# Inputs:  LARDER  a larder to use instead of a release build of this checkout
#          ROUNDS  rounds, after one to warm up (default 5, at least 5)
#          needs root, for engines with a copied data root
# Outputs: a line for each commit, with medians in seconds: docker, larder, their difference, and what larder says. Exit
#          1 if that is not known, if it differs from the measured difference by more than 20 % and 0.4 s, or if
#          `larder stats` takes more than 100 ms.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
ROUNDS=${ROUNDS:-5}
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"
unset DOCKER_HOST
work=$LARDER_RUN_DIR/worth

clean_up() {
  local status=$?
  set +e
  stop_engine
  if [[ -n $registry_pid ]]; then kill "$registry_pid"; fi
  (exit "$status")
  session_end
}

# start_engine STATE: starts an engine with a copy of the data root in $work/STATE, or with an empty one.
start_engine() {
  mkdir -p "$work/now"
  if [[ -d $work/$1 ]]; then cp -a "$work/$1" "$work/now/root"; fi
  dockerd --data-root "$work/now/root" --exec-root "$work/now/exec" --pidfile "$work/now/pid" -H "unix://$work/now/docker.sock" \
    --storage-driver overlay2 --bridge=none --iptables=false &>"$work/dockerd.log" &
  export DOCKER_HOST=unix://$work/now/docker.sock DOCKER_BUILDKIT=1
  until docker version &>/dev/null; do
    kill -0 $! || { tail -n 5 "$work/dockerd.log" >&2 && return 1; }
    sleep 0.1
  done
}

# stop_engine [STATE]: stops the engine, and keeps its data root as $work/STATE or removes it.
stop_engine() {
  local pid
  if [[ -s $work/now/pid ]]; then
    pid=$(<"$work/now/pid")
    kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  if [[ -n ${1:-} ]]; then mv "$work/now/root" "$work/$1"; fi
  rm -rf "$work/now" 2>/dev/null || { sleep 1 && rm -rf "$work/now"; }
}

project() {
  mkdir -p "$work/app"
  echo one==1 >"$work/app/requirements.txt"
  echo 1 >"$work/app/app.py"
  cat >"$work/app/Dockerfile" <<'END'
FROM larder-test/busybox:1
WORKDIR /srv
COPY requirements.txt .
RUN --mount=type=cache,target=/cache \
    if [ -e /cache/wheel ]; then cat /cache/wheel >/dev/null; sleep 2; else sleep 6; dd if=/dev/urandom of=/cache/wheel bs=1M count=30; fi; \
    dd if=/dev/urandom of=/deps bs=1M count=60; cat requirements.txt
RUN sleep 3
COPY app.py .
CMD ["cat", "app.py"]
END
}

# timed COMMAND...: prints the time of a command in milliseconds.
timed() {
  local start=${EPOCHREALTIME/[.,]/}
  "$@" &>>"$work/log" || { tail -n 20 "$work/log" >&2 && return 1; }
  echo $(((${EPOCHREALTIME/[.,]/} - start) / 1000))
}

with_docker() { docker build --network none -t "$1" "$work/app" && if [[ $2 == push ]]; then docker push "$1"; fi; }

# measure NAME STATE HOME TAG push|load [FLAG...]: builds with docker and with larder on copies of the state; larder's
# home is $work/HOME. Keeps the state and the home afterwards as NAME, and adds the times to the file NAME.
measure() {
  local name=$1 state=$2 home=$3 tag=$4 how=$5 docker larder said flags=()
  shift 5
  start_engine "$state"
  docker=$(timed with_docker "$registry/docker:$tag" "$how")
  stop_engine
  start_engine "$state"
  rm -rf "${work:?}/home"
  if [[ -d $work/$home ]]; then cp -a "$work/$home" "$work/home"; else mkdir "$work/home"; fi
  if [[ $how == push ]]; then flags=(--push); fi
  larder=$(HOME=$work/home timed "$LARDER" build --network none "${flags[@]}" "$@" --metadata-file "$work/$name.json" -t "$registry/larder:$tag" "$work/app")
  cp -a "$work/home" "$work/home-$name"
  stop_engine "$name"
  said=$(jq -r 'if .without_millis then .without_millis - .millis else "unknown" end' "$work/$name.json")
  if ((round)); then echo "$docker $larder $((docker - larder)) $said" >>"$work/times-$name"; fi
}

# medians NAME: prints the medians of a commit. An unknown time is a median of "unknown".
medians() {
  local column
  for column in 1 2 3 4; do
    cut -d ' ' -f "$column" "$work/times-$1" >"$work/column"
    if grep -q unknown "$work/column"; then echo unknown; else median "$work/column"; fi
  done
}

# check NAME: prints the medians of a commit, and compares what larder says with what was measured.
check() {
  local medians
  mapfile -t medians < <(medians "$1")
  awk -v name="$1" -v docker="${medians[0]}" -v larder="${medians[1]}" -v measured="${medians[2]}" -v said="${medians[3]}" 'BEGIN {
    known = said != "unknown"
    off = said > measured ? said - measured : measured - said
    size = measured < 0 ? -measured : measured
    bad = !known || (off > 400 && off > size * 0.2)
    printf "%-34s %7.1f %7.1f %8.1f %8s  %s\n", name, docker / 1000, larder / 1000, measured / 1000, (known ? sprintf("%.1f", said / 1000) : said), (bad ? "WRONG" : "")
    exit bad
  }' || failed=1
}

# Measures `larder stats` with 20 000 builds.
many_builds() {
  local cache=$work/many/v1 start times=()
  mkdir -p "$cache"
  jq -c . "$work/code-fresh-agent.json" >"$work/one.json"
  awk '{ for (n = 0; n < 20000; n++) { line = $0; sub(/"started":"[^"]*"/, sprintf("\"started\":\"2026-01-%02dT%02d:%02d:%02dZ\"", 1 + n / 1000, n / 42 % 24, n / 60 % 60, n % 60), line); print line } }' \
    "$work/one.json" >"$cache/ledger.jsonl"
  for _ in 1 2 3 4 5; do
    start=${EPOCHREALTIME/[.,]/}
    "$LARDER" --cache-dir "$work/many" stats >/dev/null
    times+=($(((${EPOCHREALTIME/[.,]/} - start) / 1000)))
  done
  local typical
  typical=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 3p)
  printf 'larder stats with 20000 builds (%d MB): %d ms\n' $(($(stat -c %s "$cache/ledger.jsonl") / 1000000)) "$typical"
  ((typical <= 100)) || failed=1
}

mkdir -p "$work"
step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry jq:jq python3:python3
step "engine" "$scripts/engine-fetch.sh" distro
PATH=$LARDER_DEV_DIR/engine-distro/bin:$PATH
step "larder itself" build_larder
trap clean_up EXIT
start_engine none
"$scripts/base-image.sh" busybox >/dev/null
stop_engine empty

# commits: measures each commit once, from nothing.
commits() {
  serve_registry
  trap clean_up EXIT # serve_registry has replaced it
  rm -rf "$work"/{cold,code,nothing,requirement}* "$work"/home* "$work/bucket"
  project
  measure cold empty none 1 push
  # The first build has no history. Its figure is what larder cost.
  measure nothing-fresh-agent empty none 2 push
  echo 2 >"$work/app/app.py"
  measure code-fresh-agent empty none 3 push
  echo 3 >"$work/app/app.py"
  measure code-kept-agent cold home-cold 4 load
  measure nothing-kept-agent code-kept-agent home-code-kept-agent 5 load
  project
  mkdir "$work/bucket"
  measure cold-remote empty none 1 load --remote "file://$work/bucket"
  echo two==2 >>"$work/app/requirements.txt"
  measure requirement-fresh-agent-remote empty none 2 load --remote "file://$work/bucket"
  echo 2 >"$work/app/app.py"
  measure code-fresh-agent-remote empty none 3 load --remote "file://$work/bucket"
}

for ((round = 0; round <= rounds; round++)); do
  step "round $round" commits
done
printf '\n%-34s %7s %7s %8s %8s\n' '' docker larder measured said
for times in "$work"/times-*; do check "${times##*/times-}"; done
many_builds
((failed == 0))
