#!/usr/bin/env bash
# Purpose: what one agent has pushed is of use to the next, whose engine and cache are empty: on a registry with TLS and
#          htpasswd, and on Amazon's as MiniStack stands for it behind an nginx that asks for its token. With one line of code
#          changed every other step is a hit, and the cache mount of a step that is one is left alone; with a source of the builder stage changed, that stage's earlier steps are where
#          the engine can write a registry cache, and not where it cannot; with nothing changed the image is named anew, and
#          no layer moves. Needs root, for the engines are private ones.
# Inputs:  LARDER   a larder to use instead of a debug build of this checkout; more in lib/session.sh and object-stores.sh
# Outputs: a table of what the builds hit and what the registries sent and took; exit 1 if that is anything else.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"
unset DOCKER_HOST
app=$LARDER_RUN_DIR/app
here=$LARDER_RUN_DIR/registries
certificates=/etc/docker/certs.d # where engines look; the registry's directory in it goes at the end
largest=20000 # bytes: more than any manifest or config here, less than the smallest layer
mark=$(date +%s%N)
agents=0

fail() {
  echo "check-registry.sh: $1" >&2
  exit 1
}

# free_port: a port that was free a moment ago.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# await_port PORT: waits until somebody listens there.
await_port() {
  local deadline=$((SECONDS + 30))
  until (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    ((SECONDS < deadline)) || fail "nobody listens on port $1"
    sleep 0.05
  done
}

servers=()
registry_certificates=''
stop_servers() {
  if ((${#servers[@]})); then kill "${servers[@]}" 2>/dev/null || true; fi
  if [[ -n $registry_certificates ]]; then rm -rf "$registry_certificates"; fi
}

# serve NAME: a registry with htpasswd, and with TLS where that is its name; its log has a line for each call.
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

# MiniStack behind nginx, which asks for the token that MiniStack hands out.
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

# new_engine KIND: an engine that knows nothing but the base image, instead of the one before. All of a kind have the very same.
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

# build KIND REGISTRY STEP: builds and pushes with an empty cache; the record is in $record, the calls in $calls.
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
  sleep 0.2 # the log is written after the answer
  tail -n "+$((before + 1))" "$dir/calls" | grep -F '"' >"$calls" || true
  jq -r --arg name "$1 $2 $3" '[$name, .outcome, .hit_tier // "-", "\(.steps.cached)/\(.steps.total)", .steps.imported, .millis] | @tsv' "$record" >>"$LARDER_RUN_DIR/table"
}

# expect KIND REGISTRY STEP CACHED: so many steps were cached, all of them from the registry.
expect() {
  build "$1" "$2" "$3"
  jq -e --argjson cached "$4" '.outcome == "built" and .steps.total == 7 and .steps.cached == $cached and .steps.imported == $cached' "$record" >/dev/null ||
    { cat "$record.log" >&2 && fail "$1 $2 $3: not $4 of 7 steps from the registry: $(jq -c .steps "$record")"; }
}

# expect_renamed KIND REGISTRY STEP: nothing was built, and no call has moved as much as a layer.
expect_renamed() {
  build "$1" "$2" "$3"
  jq -e '.hit_tier == "registry" and .millis <= 1000' "$record" >/dev/null || { cat "$record.log" >&2 && fail "$1 $2 $3: no hit in the registry within a second"; }
  if grep -E '"(POST|PATCH|PUT) [^"]*/blobs/' "$calls"; then fail "$1 $2 $3: a blob was pushed"; fi
  awk -v largest=$largest '{ for (i = NF; i > 0; i--) if ($i ~ /"$/) { if ($(i + 2) > largest) { print; exit 1 } break } }' "$calls" ||
    fail "$1 $2 $3: a layer was sent"
}

# lose_layers: the registry's layers are gone, and its manifests are not.
lose_layers() {
  local blob
  while read -r blob; do
    if [[ $(head -c 1 "$blob" | tr -d '\0') != '{' ]]; then rm "$blob"; fi
  done < <(find "$here/tls/data" -path '*/blobs/*' -name data)
}

# expect_without KIND: a build whose layers cannot be fetched runs its steps.
expect_without() {
  build "$1" tls lost
  grep -q 'warning: layers of the registry cannot be taken' "$record.log" || { cat "$record.log" >&2 && fail "$1: no layer was missed"; }
  jq -e '.outcome == "built" and .steps.cached == 0' "$record" >/dev/null || fail "$1: lost layers were counted"
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
  # It takes every registry of its own machine for one in the clear.
  if [[ $kind == distro ]]; then registries=(http ecr); fi
  echo 1 | tee "$app/app.py" >"$app/setup.cfg"
  step "$kind: the first agent" new_engine "$kind"
  for registry in "${registries[@]}"; do
    build "$kind" "$registry" first
    # The next one is to find nothing in the builder.
    "$DOCKER" builder prune -af &>/dev/null
  done
  echo 2 >"$app/app.py"
  for registry in "${registries[@]}"; do
    new_engine "$kind"
    step "$kind, $registry: another agent, a line of code changed" expect "$kind" "$registry" code 6
    jq -e '.mounts[0].prediction == "right"' "$record" >/dev/null ||
      { cat "$record.log" >&2 && fail "$kind $registry: a mount that nothing needs was carried"; }
  done
  new_engine "$kind"
  for registry in "${registries[@]}"; do step "$kind, $registry: another agent, nothing changed" expect_renamed "$kind" "$registry" again; done
  echo 2 >"$app/setup.cfg"
  # The builder stage is in the registry cache alone, which a graph driver does not write.
  hits=2
  if [[ $kind == containerd ]]; then hits=3; fi
  for registry in "${registries[@]}"; do
    new_engine "$kind"
    step "$kind, $registry: another agent, the builder stage changed" expect "$kind" "$registry" wheels "$hits"
  done
  # A graph driver fetches again and again, for minutes, and then does without by itself.
  if [[ $kind == containerd ]]; then
    echo 3 >"$app/app.py"
    lose_layers
    new_engine "$kind"
    step "$kind: another agent, the layers lost" expect_without "$kind"
  fi
done
printf '\n%s\n' "build	outcome	tier	cached	imported	ms" | cat - "$LARDER_RUN_DIR/table" | column -t -s $'\t'
