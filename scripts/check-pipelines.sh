#!/usr/bin/env bash
# Purpose: run the example pipelines of this repository on the example project, with a registry that requires a login:
#          the Jenkinsfile in a simulation (Jenkins is not needed, and not tested), and the GitLab job in
#          gitlab-ci-local, or its lines in a shell. Also checks .gitlab-ci.yml against GitLab's schema.
# Inputs:  LARDER and DOCKER_HOST as in lib/session.sh
#          LARDER_NO_JENKINS=1, LARDER_NO_GITLAB=1   skip one of them
# Outputs: the output of the pipelines; exit 1 if one of them fails. Skipped checks are reported on stderr as SKIPPED.
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/lib/session.sh"

# Creates a git checkout of the example with both pipeline files, as a CI server has it.
make_repository() {
  repository=$LARDER_RUN_DIR/repository
  cp -r "$root/ci-examples/python-app" "$repository"
  cp "$root/jenkins/Jenkinsfile" "$root/ci-examples/gitlab/.gitlab-ci.yml" "$repository"
  git -C "$repository" init -q -b main
  git -C "$repository" add .
  git -C "$repository" -c user.name=larder -c user.email=larder@example.org commit -q -m example
  git -C "$repository" remote add origin git@gitlab.example.org:larder/python-app.git
  git -C "$repository" update-ref refs/remotes/origin/main HEAD
  git -C "$repository" remote set-head origin main
}

# Starts a registry where the user ci may push with the password s3cret, if the engine can reach this machine.
registry=''
registry_pid=''
serve_registry() {
  local port dir=$LARDER_RUN_DIR/registry
  case $DOCKER_HOST in
  unix://* | tcp://127.0.0.1:* | tcp://localhost:*) ;;
  *) echo "SKIPPED: publishing, because the engine cannot reach a registry on this machine" >&2 && return ;;
  esac
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mkdir "$dir"
  htpasswd -Bbc -C 4 "$dir/htpasswd" ci s3cret 2>/dev/null
  cat >"$dir/config.yml" <<YAML
version: 0.1
storage: { filesystem: { rootdirectory: $dir/data } }
http: { addr: "127.0.0.1:$port" }
auth: { htpasswd: { realm: pipelines, path: $dir/htpasswd } }
YAML
  docker-registry serve "$dir/config.yml" &>"$dir/log" &
  registry_pid=$!
  registry=127.0.0.1:$port
  curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o "$dir/answer" "http://$registry/v2/"
  export DOCKER_CONFIG=$LARDER_RUN_DIR/docker-config
}

stop_registry() { if [[ -n $registry_pid ]]; then kill "$registry_pid" || true; fi; }

# expect_published REPOSITORY: checks that the image and the caches for other agents were pushed.
expect_published() {
  local tags
  [[ -n $registry ]] || return 0
  tags=$(curl -fsS -u ci:s3cret "http://$registry/v2/$1/tags/list")
  jq -e '.tags | any(startswith("larder-")) and any(. == "cache") and length >= 3' <<<"$tags" >/dev/null || {
    echo "$1 is not published as expected; its tags are: $tags" >&2
    return 1
  }
}

run_jenkinsfile() {
  local workspace=$LARDER_RUN_DIR/jenkins java
  java=$(realpath "$(command -v java)")
  mkdir "$workspace"
  if [[ -n $registry ]]; then docker login -u ci --password-stdin "$registry" <<<s3cret; fi
  (cd "$workspace" && SCM=$repository REPOSITORY=${registry:+$registry/jenkins/python-app} JAVA_HOME=${java%/bin/java} groovy "$root/jenkins/test/declarative.groovy" "$repository/Jenkinsfile")
  expect_published jenkins/python-app
}

check_gitlab_schema() {
  local venv=$LARDER_DEV_DIR/venv-schema
  if [[ ! -x $venv/bin/check-jsonschema ]]; then
    python3 -c 'import venv, ensurepip' 2>/dev/null || "$scripts/need.sh" no-venv:python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q check-jsonschema
  fi
  "$venv/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci "$repository/.gitlab-ci.yml"
}

run_gitlab_job() {
  local home=$LARDER_DEV_DIR/gitlab-ci-local
  "$scripts/need.sh" rsync:rsync
  if [[ ! -x $home/node_modules/.bin/gitlab-ci-local ]]; then
    npm install --silent --no-audit --no-fund --prefix "$home" gitlab-ci-local@4.62.0
  fi
  (cd "$repository" && "$home/node_modules/.bin/gitlab-ci-local" --force-shell-executor --shell-isolation --no-artifacts-to-source \
    --variable CI_REGISTRY="$registry" --variable CI_REGISTRY_IMAGE="${registry:+$registry/gitlab/python-app}" \
    --variable CI_REGISTRY_USER=ci --variable CI_REGISTRY_PASSWORD=s3cret python-image)
  expect_published gitlab/python-app
}

# Runs the lines of the job in a shell, without cache and artifacts, if there is no runner.
run_gitlab_lines() {
  local checkout=$LARDER_RUN_DIR/gitlab lines=$LARDER_RUN_DIR/gitlab.sh
  git clone -q "$repository" "$checkout"
  "$LARDER_DEV_DIR/venv-schema/bin/python" - "$repository/.gitlab-ci.yml" >"$lines" <<'PYTHON'
import sys
from ruamel.yaml import YAML

pipeline = YAML(typ="safe").load(open(sys.argv[1]))
for name, value in pipeline["variables"].items():
    print(f'export {name}="{value}"')
print(*pipeline["python-image"]["script"], sep="\n")
PYTHON
  (cd "$checkout" && CI_COMMIT_SHORT_SHA=$(git rev-parse --short HEAD) CI_PROJECT_DIR=$checkout CI_COMMIT_REF_NAME=main CI_DEFAULT_BRANCH=main CI_REGISTRY=$registry \
    CI_REGISTRY_IMAGE=${registry:+$registry/gitlab/python-app} CI_REGISTRY_USER=ci CI_REGISTRY_PASSWORD=s3cret bash -euxo pipefail "$lines")
  expect_published gitlab/python-app
}

has_node_20() { command -v npm >/dev/null && (($(node -p 'process.versions.node.split(".")[0]') >= 20)); }

open_workbench
step "larder" build_larder
mkdir "$LARDER_RUN_DIR/bin" && ln -s "$LARDER" "$LARDER_RUN_DIR/bin/larder"
PATH=$LARDER_RUN_DIR/bin:$PATH
export XDG_CACHE_HOME=$LARDER_RUN_DIR/cache # the pipelines must not find an older store of larder
step "git, a registry" "$scripts/need.sh" git:git docker-registry:docker-registry htpasswd:apache2-utils
trap 'status=$?; stop_registry; set +e; (exit $status); session_end' EXIT
step "registry" serve_registry
step "checkout" make_repository

if [[ -n ${LARDER_NO_JENKINS:-} ]]; then
  echo "SKIPPED: the Jenkinsfile, because LARDER_NO_JENKINS is set" >&2
else
  step "Groovy" "$scripts/need.sh" groovy:groovy java:default-jre-headless
  step "Jenkinsfile" run_jenkinsfile
fi
if [[ -n ${LARDER_NO_GITLAB:-} ]]; then
  echo "SKIPPED: .gitlab-ci.yml, because LARDER_NO_GITLAB is set" >&2
else
  step ".gitlab-ci.yml: schema" check_gitlab_schema
  if has_node_20; then
    step ".gitlab-ci.yml: job" run_gitlab_job
  else
    echo "SKIPPED: the GitLab job, because it needs npm and Node 20 or later; its lines run in a shell instead" >&2
    step ".gitlab-ci.yml: lines" run_gitlab_lines
  fi
fi
