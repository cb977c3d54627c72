#!/usr/bin/env bash
# Purpose: start and stop private Docker engines, each with its own containerd, bridge and data root.
#          Needs root. Does not change the firewall or any engine that it did not start.
# Inputs:  start [--engine distro|newer|trixie] [--store overlay2|containerd] [--name NAME] [--size SIZE] [--tls] [--no-host-network]
#                --engine  one of the engines that engine-fetch.sh installs (default distro)
#                --store   how images are stored (default overlay2)
#                --name    the engine's name (default docker-MAJOR.MINOR, with -containerd for that store)
#                --size    put the data root on a file system of this size, e.g. 120M
#                --tls     also listen on TCP with TLS, and require a client certificate
#                --no-host-network   do not allow builds to use the machine's network
#          stop [NAME ...]   stops these engines, or every engine of the run
#          LARDER_DEV_DIR    folder in which engine-fetch.sh installed the engines
#          LARDER_RUN_DIR    folder of this run; the files of an engine are in $LARDER_RUN_DIR/e/NAME
# Outputs: start prints one line of JSON, the record described in test.sh, as soon as the engine answers.
#          The log is e/NAME/log; its end is printed to stderr if the engine fails to start.
#          With --tls, e/NAME/certs contains ca.pem, cert.pem and key.pem for a client, and wrong/ with the same
#          three files from an authority that the engine does not trust.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
# A short name: the path of a step's ssh socket in this folder must not be longer than 107 bytes.
engines=${LARDER_RUN_DIR:?}/e

die() {
  echo "engine.sh: $1" >&2
  exit "${2:-1}"
}

# await SECONDS COMMAND...: waits until a command succeeds, at most this many seconds.
await() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# Adds the first free bridge larderN, with a network from the range that RFC 2544 reserves for tests, and prints its
# name.
add_bridge() {
  local n
  for n in {0..255}; do
    if ip link add "larder$n" type bridge 2>/dev/null; then
      ip addr add "198.18.$n.1/24" dev "larder$n"
      ip link set "larder$n" up
      echo "larder$n"
      return
    fi
  done
  return 1
}

# certificate DIR NAME OPTION...: writes DIR/NAME.pem and DIR/NAME-key.pem, signed by DIR/ca.pem if it exists, otherwise
# self-signed.
certificate() {
  local dir=$1 name=$2 issuer=()
  shift 2
  if [[ -e $dir/ca.pem ]]; then issuer=(-CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem"); fi
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n') \
    -subj "/CN=larder test $name" -keyout "$dir/$name-key.pem" -out "$dir/$name.pem" "${issuer[@]}" "$@" 2>/dev/null
}

# certificates DIR: writes an authority, a client certificate (cert.pem and key.pem, as Docker names them), and a server
# certificate for 127.0.0.1.
certificates() {
  local dir=$1
  mkdir -p "$dir"
  certificate "$dir" ca -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
  certificate "$dir" server -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=serverAuth \
    -addext subjectAltName=IP:127.0.0.1,DNS:localhost
  certificate "$dir" cert -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=clientAuth
  mv "$dir/cert-key.pem" "$dir/key.pem"
}

free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do
    if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port" && return; fi
  done
}

answers_or_ended() { curl -sf -o /dev/null --unix-socket "$1" http://engine/_ping || ! kill -0 "$2" 2>/dev/null; }

start() {
  local kind=distro store=overlay2 name='' size='' tls='' host_network=true
  while (($#)); do
    case $1 in
    --engine) kind=$2 && shift 2 ;;
    --store) store=$2 && shift 2 ;;
    --name) name=$2 && shift 2 ;;
    --size) size=$2 && shift 2 ;;
    --tls) tls=yes && shift ;;
    --no-host-network) host_network=false && shift ;;
    *) die "unknown option $1" 2 ;;
    esac
  done
  ((EUID == 0)) || die "a private engine needs root; to use a running engine, set DOCKER_HOST"

  local programs=${LARDER_DEV_DIR:?}/engine-$kind version
  [[ -x $programs/bin/dockerd ]] || die "run engine-fetch.sh $kind first"
  PATH=$programs/bin:$PATH
  version=$(dockerd --version | sed -E 's/.*version ([^,]+),.*/\1/')
  if [[ -z $name ]]; then
    name=docker-$(cut -d. -f1,2 <<<"$version")
    if [[ $store == containerd ]]; then name+=-containerd; fi
  fi

  local dir=$engines/$name host certs=''
  mkdir -p "$engines"
  mkdir "$dir" || die "an engine named $name exists already"
  mkdir "$dir/data"
  host=unix://$dir/docker.sock
  # From here on, everything that was started is stopped if a later step fails.
  trap 'status=$?; if ((status)); then tail -n 25 "'"$dir"'/log" >&2 || true; stop_one "'"$dir"'"; fi' EXIT

  # Overlay file systems do not stack: on one of them (the root of a container), the data root is put on a tmpfs.
  if [[ -z $size && $(stat -f -c %T "$dir/data") == overlayfs ]]; then size=75%; fi
  if [[ -n $size ]]; then mount -t tmpfs -o "size=$size" larder "$dir/data"; fi
  add_bridge >"$dir/bridge" || die "cannot add a network bridge: is this a container without NET_ADMIN?"

  local -a listen=(-H "$host") driver=(--storage-driver overlay2)
  if [[ $store == containerd ]]; then driver=(); fi
  if [[ -n $tls ]]; then
    certs=$dir/certs
    certificates "$certs"
    certificates "$certs/wrong"
    host=tcp://127.0.0.1:$(free_port)
    listen+=(-H "$host" --tlsverify --tlscacert "$certs/ca.pem" --tlscert "$certs/server.pem" --tlskey "$certs/server-key.pem")
  fi

  # The CRI and NRI plugins listen at addresses that the machine's own containerd may use.
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/data/containerd"
state = "$dir/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[grpc]
address = "$dir/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$dir/data/opt"
TOML
  printf '{"features": {"containerd-snapshotter": %s}, "builder": {"Entitlements": {"network-host": %s}}}\n' \
    "$([[ $store == containerd ]] && echo true || echo false)" "$host_network" >"$dir/daemon.json"

  # Each process has its own session, so that Ctrl-C reaches only the script, which then stops them in order.
  setsid containerd --config "$dir/containerd.toml" </dev/null >>"$dir/log" 2>&1 &
  echo $! >"$dir/containerd.pid"
  await 30 test -S "$dir/containerd.sock" || die "containerd of $name does not answer"
  setsid dockerd --config-file "$dir/daemon.json" --containerd "$dir/containerd.sock" --data-root "$dir/data/d" --exec-root "$dir/exec" \
    --pidfile "$dir/dockerd.pidfile" --bridge "$(<"$dir/bridge")" --iptables=false --ip6tables=false --ip-forward=false --userland-proxy=false \
    "${driver[@]}" "${listen[@]}" </dev/null >>"$dir/log" 2>&1 &
  local pid=$!
  echo "$pid" >"$dir/dockerd.pid"
  await 60 answers_or_ended "$dir/docker.sock" "$pid"
  kill -0 "$pid" 2>/dev/null || die "dockerd of $name has ended"

  printf '{"name":"%s","version":"%s","host":"%s","store":"%s","docker":"%s","docker_config":"%s","buildx":%s,"certs":"%s"}\n' \
    "$name" "$version" "$host" "$store" "$programs/bin/docker" "$programs/docker-config" \
    "$(DOCKER_CONFIG=$programs/docker-config docker buildx version >/dev/null 2>&1 && echo true || echo false)" "$certs"
}

# ended PID DIR: succeeds if the process ended. A process id belongs to the engine only while its command line contains
# the engine's folder.
ended() { ! tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$2/"; }

# end PID DIR: ends a process and waits for it; kills it after 20 s.
end() {
  local signal
  for signal in TERM KILL; do
    ended "$@" && return
    kill "-$signal" "$1" 2>/dev/null || true
    await 20 ended "$@" || true
  done
}

stop_one() {
  local dir=$1 file pid target
  for file in dockerd.pid containerd.pid; do
    if [[ -s $dir/$file ]]; then end "$(<"$dir/$file")" "$dir"; fi
  done
  # A killed engine leaves shims and mounts.
  for pid in $(pgrep -f -- "$dir/" || true); do end "$pid" "$dir"; done
  awk -v dir="$dir/" 'index($2 "/", dir) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r target; do
    umount "$target" 2>/dev/null || umount -l "$target"
  done
  if [[ -s $dir/bridge ]]; then ip link del "$(<"$dir/bridge")" 2>/dev/null || true; fi
  rm -rf "${dir:?}"/{data,exec,certs,*.pid,*.sock,bridge}
}

stop() {
  local dir
  if (($# == 0)); then set -- "$engines"/*/; fi
  for dir in "$@"; do
    dir=${dir%/}
    dir=$engines/${dir##*/}
    if [[ -d $dir ]]; then stop_one "$dir" & fi
  done
  wait
}

case ${1:-} in
start | stop) "$@" ;;
*) die "the first argument must be start or stop" 2 ;;
esac
