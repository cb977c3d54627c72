# shellcheck shell=bash
# Purpose: agents that have only the base image, and a registry, at the two ends of a link of 200 Mbit/s. Source this
#          after session.sh and venv.sh, in a script that sets $work to a folder. Needs root, for network namespaces.
# Outputs: $server and $agent, the addresses of the two ends; $pids, the processes that stop_link ends
# shellcheck disable=SC2154 # the sourcing script sets $work, $packages and $python; venv.sh sets $venv and $wheels
server=198.19.251.1
agent=198.19.251.2
pids=()

# inside NAME COMMAND...: runs a command in a network namespace. `ip netns exec` would hide the control groups that an
# engine needs.
inside() { nsenter "--net=/run/netns/larder-$1" "${@:2}"; }

link() {
  ip netns add larder-server && ip netns add larder-agent
  ip link add larder-a type veth peer name larder-s
  ip link set larder-a netns larder-agent && ip link set larder-s netns larder-server
  inside server ip addr add "$server/24" dev larder-s && inside server ip link set larder-s up && inside server ip link set lo up
  inside agent ip addr add "$agent/24" dev larder-a && inside agent ip link set larder-a up && inside agent ip link set lo up
  inside server tc qdisc add dev larder-s root tbf rate 200mbit burst 256kb latency 400ms
  inside agent tc qdisc add dev larder-a root tbf rate 200mbit burst 256kb latency 400ms
}

# stop_link: ends the processes at both ends, and removes the link.
stop_link() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  stop_agent
  ip netns del larder-agent 2>/dev/null
  ip netns del larder-server 2>/dev/null
  rm -rf "/etc/docker/certs.d/$server:"*
}

# moved: prints the number of bytes that the agent has sent and received.
moved() { ip -n larder-agent -s -j link show larder-a | jq '.[0].stats64 | .rx.bytes + .tx.bytes'; }

# index: starts a package index with $packages for $python on port 8080 of the server.
index() {
  wheels=$LARDER_DEV_DIR/wheels-replay
  venv_need pypi-server:pypiserver
  if [[ ! -d $wheels ]]; then
    "$venv/bin/pip" download -q --only-binary=:all: --python-version "$python" -d "$wheels.part" "${packages[@]}" requests==2.31.0
    mv "$wheels.part" "$wheels"
  fi
  inside server "$venv/bin/pypi-server" run -p 8080 -i "$server" --cache-control 31536000 "$wheels" &>"$work/index.log" &
  pids+=($!)
}

# registry: starts a registry with TLS on port 5000 of the server.
registry() {
  local port
  mkdir -p "$work/tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$server" -addext "subjectAltName=IP:$server" \
    -keyout "$work/tls/key.pem" -out "$work/tls/cert.pem" 2>/dev/null
  for port in 5000 5001; do
    mkdir -p "/etc/docker/certs.d/$server:$port" && cp "$work/tls/cert.pem" "/etc/docker/certs.d/$server:$port/ca.crt"
  done
  printf 'version: 0.1\nstorage: { filesystem: { rootdirectory: %s }, delete: { enabled: true } }\nhttp: { addr: "%s:5000", relativeurls: true, tls: { certificate: %s, key: %s } }\n' \
    "$work/registry" "$server" "$work/tls/cert.pem" "$work/tls/key.pem" >"$work/registry.yml"
  inside server docker-registry serve "$work/registry.yml" &>"$work/registry.log" &
  pids+=($!)
}

# start_agent: starts an agent whose engine has only the images in $work/base.tar.
start_agent() {
  local data=$work/agent pid
  mkdir -p "$data"
  PATH=$LARDER_DEV_DIR/engine-distro/bin:$PATH inside agent dockerd --data-root "$data/root" --exec-root "$data/exec" --pidfile "$data/pid" \
    -H "unix://$data/docker.sock" --storage-driver overlay2 --bridge=none --iptables=false &>"$work/dockerd.log" &
  export DOCKER_HOST=unix://$data/docker.sock DOCKER_BUILDKIT=1
  pid=$!
  until docker version &>/dev/null; do
    kill -0 "$pid" || { tail -n 5 "$work/dockerd.log" >&2 && return 1; }
    sleep 0.1
  done
  docker load -q -i "$work/base.tar" >/dev/null
}

# stop_agent: stops the agent, and removes its engine and home, so that the next agent starts empty.
stop_agent() {
  local data=$work/agent
  if [[ -s $data/pid ]]; then
    local pid
    pid=$(<"$data/pid")
    kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  fi
  rm -rf "$data" "${work:?}/home" 2>/dev/null || { sleep 1 && rm -rf "$data" "${work:?}/home"; }
  mkdir -p "$work/home"
}
