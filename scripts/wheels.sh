#!/usr/bin/env bash
# Purpose: serve the Python packages of the example from this machine, with headers that allow pip to cache them.
# Inputs:  start PYTHON_VERSION   e.g. 3.11: the version in the image that will install them
#          stop
#          LARDER_DEV_DIR   stores the packages between runs; LARDER_RUN_DIR   folder of this run
#          pip's configuration selects where packages come from
# Outputs: start prints the URL of the index as soon as it answers. The server's log is $LARDER_RUN_DIR/wheels/log
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
state=${LARDER_RUN_DIR:?}/wheels
# shellcheck source=scripts/lib/venv.sh
. "$here/lib/venv.sh"

start() {
  local requirements=$here/../ci-examples/python-app/requirements.txt wheels port
  wheels=$LARDER_DEV_DIR/wheels-$1-$(sha256sum "$requirements" | cut -c1-12)
  mkdir -p "$state" "$LARDER_DEV_DIR"
  venv_need pypi-server:pypiserver
  (
    flock 9
    if [[ ! -d $wheels ]]; then
      rm -rf "$wheels.part"
      "$venv/bin/pip" download -q --only-binary=:all: --python-version "$1" -d "$wheels.part" -r "$requirements"
      mv "$wheels.part" "$wheels"
    fi
  ) 9>"$LARDER_DEV_DIR/wheels.lock" >&2

  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  setsid "$venv/bin/pypi-server" run -vv -p "$port" -i 127.0.0.1 --cache-control 31536000 "$wheels" </dev/null >"$state/log" 2>&1 &
  echo $! >"$state/pid"
  until curl -sf -o /dev/null "http://127.0.0.1:$port/simple/"; do
    kill -0 "$(<"$state/pid")" 2>/dev/null || { tail -n 20 "$state/log" >&2 && return 1; }
    sleep 0.05
  done
  echo "http://127.0.0.1:$port/simple"
}

stop() {
  if [[ -s $state/pid ]]; then kill "$(<"$state/pid")" 2>/dev/null || true; fi
  rm -rf "$state"
}

case ${1:-} in
start | stop) "$@" ;;
*) echo "wheels.sh: the arguments must be start PYTHON_VERSION, or stop" >&2 && exit 2 ;;
esac
