#!/usr/bin/env bash
# Purpose: measure seven commits of a Python project (Flask, pandas, scipy), each built and pushed by an agent that has
#          only the base image, over a link of 200 Mbit/s: docker build without a cache; docker build with :cache pulled
#          and imported; larder build --push of this checkout and, if given, of an older larder.
# Inputs:  MODES         the modes, in order (default "none inline larder"; "before" is LARDER_BEFORE)
#          LARDER        a larder to use instead of a release build of this checkout
#          LARDER_BEFORE an older larder
#          REPLAY_LOGS   folder to which the output of each build is copied
#          needs root, for network namespaces with engines; the packages are downloaded from PyPI once
# Outputs: a line for each commit: seconds of each mode. Exit 1 if larder takes more than 1.05 times as long as no cache
#          or the inline cache for any commit, or more than 0.75 times as long as the older larder if dependencies
#          change.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/venv.sh
. "$scripts/lib/venv.sh"
# shellcheck source=scripts/lib/agents.sh
. "$scripts/lib/agents.sh"
unset DOCKER_HOST
modes=${MODES:-none inline larder}
work=$LARDER_RUN_DIR/replay
packages=(flask numpy pandas scipy scikit-learn requests)

clean_up() {
  local status=$?
  set +e
  stop_link
  (exit "$status")
  session_end
}

project() {
  mkdir -p "$work/app"
  printf 'flask\nnumpy\npandas\nscipy\n' >"$work/app/requirements.txt"
  echo 'print(0)' >"$work/app/app.py"
  cat >"$work/app/Dockerfile" <<END
FROM $BASE
WORKDIR /app
COPY requirements.txt .
RUN pip install --break-system-packages --no-cache-dir --trusted-host $server -i http://$server:8080/simple -r requirements.txt
COPY . .
CMD ["python3", "app.py"]
END
}
commit() {
  case $1 in
  cold) project ;;
  code | code-again) echo "print('$1')" >"$work/app/app.py" ;;
  requirement-added) echo scikit-learn >>"$work/app/requirements.txt" ;;
  nothing) ;;
  requirement-pinned) echo requests==2.31.0 >>"$work/app/requirements.txt" ;;
  late-line) echo 'ENV LATE=1' >>"$work/app/Dockerfile" ;;
  esac
}

build() {
  local repository=$server:5000/$1
  case $1 in
  none) docker build --network host -t "$repository:$2" "$work/app" && docker push "$repository:$2" ;;
  inline)
    docker pull "$repository:cache" || true
    docker build --network host --cache-from "$repository:cache" --build-arg BUILDKIT_INLINE_CACHE=1 -t "$repository:$2" -t "$repository:cache" "$work/app" &&
      docker push "$repository:$2" && docker push "$repository:cache"
    ;;
  larder) inside agent env HOME="$work/home" "$LARDER" build --network host --push -t "$repository:$2" "$work/app" ;;
  before) inside agent env HOME="$work/home" "$LARDER_BEFORE" build --network host --push -t "$repository:$2" "$work/app" ;;
  esac
}

cd "$LARDER_RUN_DIR"
mkdir -p "$work/home"
trap clean_up EXIT
step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry jq:jq python3:python3 ip:iproute2 openssl:openssl
step "engine" bench_engine
step "base image" bench_base
python=$(docker run --rm --network none "$BASE" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
docker save -o "$work/base.tar" "$BASE"
"$scripts/engine.sh" stop bench
unset DOCKER_HOST
step "larder itself" build_larder
step "link" link
step "package index" index
step "registry" registry

declare -A seconds
commits=(cold code requirement-added nothing requirement-pinned late-line code-again)
for mode in $modes; do
  for name in "${commits[@]}"; do
    commit "$name"
    start_agent
    start=${EPOCHREALTIME/[.,]/}
    build "$mode" "$name" &>"$work/$mode-$name.log" || { tail -n 30 "$work/$mode-$name.log" >&2 && exit 1; }
    seconds[$mode/$name]=$(((${EPOCHREALTIME/[.,]/} - start) / 100000))
    stop_agent
    printf '%s %s %d.%d s\n' "$mode" "$name" $((seconds[$mode/$name] / 10)) $((seconds[$mode/$name] % 10)) >&2
    if [[ -n ${REPLAY_LOGS:-} ]]; then mkdir -p "$REPLAY_LOGS" && cp "$work/$mode-$name.log" "$REPLAY_LOGS"; fi
  done
done

# bound MODE PERCENT: checks that larder takes at most this percentage of the mode's time.
bound() {
  local peer=${seconds[$1/$name]:-} own=${seconds[larder/$name]:-}
  if [[ -n $peer && -n $own ]] && ((own * 100 > peer * $2)); then
    printf '    %d %% of %s, not %d\n' $((own * 100 / peer)) "$1" "$2"
    failed=1
  fi
}

failed=0
printf '\n%-20s' commit
for mode in $modes; do printf '%10s' "$mode"; done
echo
for name in "${commits[@]}"; do
  printf '%-20s' "$name"
  for mode in $modes; do printf '%8d.%d' $((seconds[$mode/$name] / 10)) $((seconds[$mode/$name] % 10)); done
  echo
  bound none 105
  bound inline 105
  if [[ $name == requirement-* ]]; then bound before 75; fi
done
exit "$failed"
