#!/usr/bin/env bash
# Purpose: test that an agent with an empty engine and cache uses what a different agent pushed: in a registry with TLS
#          and htpasswd, and in ECR, simulated by MiniStack behind an nginx that requires its token. If a line of code
#          changed, all other steps are hits, and the cache mounts of those steps are skipped. If a source of the
#          builder stage changed, the earlier steps of that stage are hits if the engine can write a registry cache. If
#          nothing changed, the image gets a new tag and no layer is transferred. Needs root, because the engines are
#          private ones.
# Inputs:  LARDER   a larder to use instead of a debug build of this checkout; more in lib/session.sh and object-stores.sh
# Outputs: a table of the builds and their hits; exit 1 if they are not as expected.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"
unset DOCKER_HOST
app=$LARDER_RUN_DIR/app
here=$LARDER_RUN_DIR/registries
certificates=/etc/docker/certs.d # where engines look; the registry's directory in it is removed at the end
largest=20000 # bytes: more than any manifest or config here, less than the smallest layer
mark=$(date +%s%N)
agents=0

fail() {
  echo "check-registry.sh: $1" >&2
  exit 1
}

# free_port: prints a port that was free a moment ago.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await_port PORT: waits until a program listens there.
await_port() {
  local deadline=$((SECONDS + 30))
  until (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    ((SECONDS < deadline)) || fail "no program listens on port $1"
    sleep 0.05
  done
}

servers=()
registry_certificates=''
stop_servers() {
  if ((${#servers[@]})); then kill "${servers[@]}" 2>/dev/null || true; fi
  if [[ -n $registry_certificates ]]; then rm -rf "$registry_certificates"; fi
}

# serve NAME: starts a registry with htpasswd, and with TLS if NAME is tls. Its log has a line for each call.
serve() {
  local port tls='' dir=$here/$1
  port=$(free_port)
  mkdir -p "$dir/docker"
  echo "127.0.0.1:$port" >"$dir/host"
  if [[ $1 == tls ]]; then
    registry_certificates=$certificates/127.0.0.1:$port
    mkdir -p "$registry_certificates"
    tls=", tls: { certificate: \"$registry_certificates/ca.crt\", key: $dir/key.pem }"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
      -addext subjectAltName=IP:127.0.0.1 -keyout "$dir/key.pem" -out "$registry_certificates/ca.crt" 2>/dev/null
  fi
  htpasswd -Bbc -C 4 "$dir/htpasswd" ci s3cret 2>/dev/null
  jq -n --arg host "127.0.0.1:$port" --arg auth "$(printf ci:s3cret | base64)" '{auths: {($host): {auth: $auth}}}' >"$dir/docker/config.json"
  cat >"$dir/config.yml" <<YAML
version: 0.1
storage: { filesystem: { rootdirectory: $dir/data } }
http: { addr: "127.0.0.1:$port"$tls }
auth: { htpasswd: { realm: check, path: $dir/htpasswd } }
YAML
  docker-registry serve "$dir/config.yml" >"$dir/calls" 2>"$dir/errors" &
  servers+=($!)
  await_port "$port"
}

# Starts MiniStack behind nginx, which requires the token that MiniStack issues.
serve_ecr() {
  local port behind dir=$here/ecr
  port=$(free_port)
  behind=$(free_port)
  mkdir -p "$dir/docker"
  (cd "$dir" && BIND_HOST=127.0.0.1 GATEWAY_PORT=$behind exec "$LARDER_TEST_MINISTACK" >"$dir/ministack" 2>&1) &
  servers+=($!)
  echo 'AWS:{PLAIN}ministack-auth-token' >"$dir/htpasswd"
  cat >"$dir/nginx.conf" <<CONF
daemon off; master_process off; pid $dir/pid; error_log $dir/errors; user root;
events {}
http {
  client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
  log_format calls '127.0.0.1 - - [-] "\$request" \$status \$body_bytes_sent \$request_length'; access_log $dir/calls calls;
  client_max_body_size 0;
  server {
    listen 127.0.0.1:$port;
    location /v2/ { auth_basic ecr; auth_basic_user_file $dir/htpasswd; proxy_pass http://127.0.0.1:$behind; proxy_set_header Host \$http_host; }
    location / {
      proxy_pass http://127.0.0.1:$behind; proxy_set_header Host \$http_host; proxy_set_header Accept-Encoding '';
      sub_filter_types *; sub_filter_once off;
      sub_filter 'https://000000000000.dkr.ecr.us-east-1.amazonaws.com' 'http://127.0.0.1:$port';
    }
  }
}
CONF
  await_port "$behind"
  PATH=$PATH:/usr/sbin nginx -c "$dir/nginx.conf" -e stderr 2>/dev/null &
  servers+=($!)
  await_port "$port"
  echo "127.0.0.1:$port" >"$dir/host"
}

# new_engine KIND: replaces the current engine by a new one that has only the base image. Engines of one kind get an
# identical base image.
new_engine() {
  local options=() base=$LARDER_RUN_DIR/base-$1.tar
  case $1 in
  containerd) options=(--engine newer --store containerd) ;;
  newer) options=(--engine newer) ;;
  esac
  if ((agents)); then "$scripts/engine.sh" stop "agent$agents"; fi
  ((agents += 1))
  "$scripts/engine.sh" start "${options[@]}" --name "agent$agents" >"$LARDER_RUN_DIR/agent.json"
  DOCKER_HOST=$(jq -r .host "$LARDER_RUN_DIR/agent.json")
  export DOCKER_HOST
  DOCKER=$(jq -r .docker "$LARDER_RUN_DIR/agent.json")
  export DOCKER
  if [[ -e $base ]]; then
    "$DOCKER" load -qi "$base" >/dev/null
  else
    "$scripts/base-image.sh" busybox >/dev/null
    "$DOCKER" save -o "$base" larder-test/busybox:1
  fi
}

# build KIND REGISTRY STEP: builds and pushes with an empty cache. Writes the record to $record, and the calls to
# $calls.
build() {
  local dir=$here/$2 host
  host=$(<"$dir/host")
  record=$LARDER_RUN_DIR/$1-$2-$3.json
  calls=$LARDER_RUN_DIR/$1-$2-$3.calls
  local before
  before=$(wc -l <"$dir/calls")
  local environment=(DOCKER_CONFIG="$dir/docker" HOME="$LARDER_RUN_DIR/home")
  if [[ $2 == ecr ]]; then
    environment+=(AWS_ENDPOINT_URL_ECR="http://$host" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1)
  fi
  (cd "$app" && env "${environment[@]}" "$LARDER" build --push --create-repository -t "$host/$1:$3" --metadata-file "$record" \
    --cache-dir "$LARDER_RUN_DIR/cache-$1-$2-$3" . 2>"$record.log") || { cat "$record.log" >&2 && fail "$1 $2 $3 failed"; }
  sleep 0.2 # the log is written after the answer was sent
  tail -n "+$((before + 1))" "$dir/calls" | grep -F '"' >"$calls" || true
  jq -r --arg name "$1 $2 $3" '[$name, .outcome, .hit_tier // "-", "\(.steps.cached)/\(.steps.total)", .steps.imported, .millis] | @tsv' "$record" >>"$LARDER_RUN_DIR/table"
}

# expect KIND REGISTRY STEP CACHED: builds, and checks that CACHED steps were cached, all of them from the registry.
expect() {
  build "$1" "$2" "$3"
  jq -e --argjson cached "$4" '.outcome == "built" and .steps.total == 7 and .steps.cached == $cached and .steps.imported == $cached' "$record" >/dev/null ||
    { cat "$record.log" >&2 && fail "$1 $2 $3: not $4 of 7 steps from the registry: $(jq -c .steps "$record")"; }
}

# expect_renamed KIND REGISTRY STEP: checks that nothing was built, and that no call transferred a layer.
expect_renamed() {
  build "$1" "$2" "$3"
  jq -e '.hit_tier == "registry" and .millis <= 1000' "$record" >/dev/null || { cat "$record.log" >&2 && fail "$1 $2 $3: no hit in the registry within a second"; }
  if grep -E '"(POST|PATCH|PUT) [^"]*/blobs/' "$calls"; then fail "$1 $2 $3: a blob was pushed"; fi
  awk -v largest=$largest '{ for (i = NF; i > 0; i--) if ($i ~ /"$/) { if ($(i + 2) > largest) { print; exit 1 } break } }' "$calls" ||
    fail "$1 $2 $3: a layer was sent"
}

# lose_layers: removes the layers from the registry, but not the manifests.
lose_layers() {
  local blob
  while read -r blob; do
    if [[ $(head -c 1 "$blob" | tr -d '\0') != '{' ]]; then rm "$blob"; fi
  done < <(find "$here/tls/data" -path '*/blobs/*' -name data)
}

# expect_without KIND: checks that a build whose layers cannot be fetched runs its steps.
expect_without() {
  build "$1" tls lost
  grep -q 'warning: cannot use the layers in the registry' "$record.log" || { cat "$record.log" >&2 && fail "$1: missing layers were not reported"; }
  jq -e '.outcome == "built" and .steps.cached == 0' "$record" >/dev/null || fail "$1: missing layers were counted as cached"
}

step "tools" "$scripts/need.sh" curl:curl docker-registry:docker-registry htpasswd:apache2-utils jq:jq nginx:nginx-light openssl:openssl python3:python3
[[ -n ${LARDER_TEST_MINISTACK:-} ]] || eval "$("$scripts/object-stores.sh")"
"$scripts/engine-fetch.sh" distro >/dev/null
kinds=()
if "$scripts/engine-fetch.sh" newer >/dev/null; then kinds+=(containerd newer); fi
kinds+=(distro)
if [[ -z ${LARDER:-} ]]; then
  need_rust
  step "larder itself" cargo build -q --manifest-path "$root/Cargo.toml"
  LARDER=${CARGO_TARGET_DIR:-$root/target}/debug/larder
fi
LARDER=$(realpath "$LARDER")
mkdir -p "$app"
trap 'status=$?; stop_servers; set +e; (exit $status); session_end' EXIT
step "registries" serve tls
serve http
serve_ecr

cat >"$app/Dockerfile" <<DOCKERFILE
FROM larder-test/busybox:1 AS wheels
RUN echo $mark > /tools
COPY setup.cfg /
RUN cat /tools /setup.cfg > /wheels
FROM larder-test/busybox:1
COPY requirements.txt /
RUN --mount=type=cache,target=/pip pip install -r /requirements.txt || echo $mark > /installed
COPY --from=wheels /wheels /wheels
COPY app.py /
DOCKERFILE
echo "example==$mark" >"$app/requirements.txt"
for kind in "${kinds[@]}"; do
  registries=(tls ecr)
  # The old engine assumes plain HTTP for every registry on its own machine.
  if [[ $kind == distro ]]; then registries=(http ecr); fi
  echo 1 | tee "$app/app.py" >"$app/setup.cfg"
  step "$kind: the first agent" new_engine "$kind"
  for registry in "${registries[@]}"; do
    build "$kind" "$registry" first
    # The next build must not find its steps in the builder.
    "$DOCKER" builder prune -af &>/dev/null
  done
  echo 2 >"$app/app.py"
  for registry in "${registries[@]}"; do
    new_engine "$kind"
    step "$kind, $registry: a different agent, a line of code changed" expect "$kind" "$registry" code 6
    jq -e '.mounts[0].prediction == "right"' "$record" >/dev/null ||
      { cat "$record.log" >&2 && fail "$kind $registry: a mount was restored although its step is cached"; }
  done
  new_engine "$kind"
  for registry in "${registries[@]}"; do step "$kind, $registry: a different agent, nothing changed" expect_renamed "$kind" "$registry" again; done
  echo 2 >"$app/setup.cfg"
  # The builder stage is only in the registry cache, which engines with graph drivers do not write.
  hits=2
  if [[ $kind == containerd ]]; then hits=3; fi
  for registry in "${registries[@]}"; do
    new_engine "$kind"
    step "$kind, $registry: a different agent, the builder stage changed" expect "$kind" "$registry" wheels "$hits"
  done
  # An engine with a graph driver retries for minutes and then builds without the layers by itself.
  if [[ $kind == containerd ]]; then
    echo 3 >"$app/app.py"
    lose_layers
    new_engine "$kind"
    step "$kind: a different agent, the layers lost" expect_without "$kind"
  fi
done
printf '\n%s\n' "build	outcome	tier	cached	imported	ms" | cat - "$LARDER_RUN_DIR/table" | column -t -s $'\t'
