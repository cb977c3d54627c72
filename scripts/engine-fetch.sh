#!/usr/bin/env bash
# Purpose: install the programs of a Docker engine, without starting it.
#            distro  the engine of this machine, or the package of its distribution
#            newer   the newest Debian package that this machine can execute, unpacked into a separate folder
#            trixie  the package of that release of Debian, likewise
# Inputs:  distro | newer | trixie
#          LARDER_DEV_DIR   the folder that stores downloads between runs
# Outputs: $LARDER_DEV_DIR/engine-KIND/bin            links to docker, dockerd, containerd and its shim, for PATH
#          $LARDER_DEV_DIR/engine-KIND/docker-config  a DOCKER_CONFIG with this engine's buildx, if it has one
#          stdout: the engine's version. Exit 3 if no newer engine is available for this machine, 1 for other failures.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
kind=${1:?distro, newer or trixie}
home=${LARDER_DEV_DIR:?}/engine-$kind
root='' # where the engine's packages are unpacked; empty if they are installed in the system

# Links the programs found in the given PATH, and the buildx of $root.
link() {
  local program found plugin
  rm -rf "${home:?}/bin" "${home:?}/docker-config"
  mkdir -p "$home/bin" "$home/docker-config/cli-plugins"
  for program in docker dockerd containerd containerd-shim-runc-v2; do
    found=$(PATH=$1 command -v "$program") || { echo "the engine has no $program" >&2 && return 1; }
    ln -s "$found" "$home/bin/$program"
  done
  for plugin in "$root"/usr/{libexec,lib}/docker/cli-plugins/docker-buildx; do
    if [[ -x $plugin ]]; then ln -sf "$plugin" "$home/docker-config/cli-plugins/"; fi
  done
}

version() { "$home/bin/dockerd" --version | sed -E 's/.*version ([^,]+),.*/\1/'; }

fetch_distro() {
  # Programs that engine.sh needs besides the engine.
  "$here/need.sh" curl:curl ip:iproute2 openssl:openssl pgrep:procps
  if ! command -v dockerd >/dev/null; then
    "$here/need.sh" dockerd:docker.io
    # Newer releases package the client and its plugin separately.
    local extra
    mapfile -t extra < <(apt-cache pkgnames docker- | grep -xE 'docker-cli|docker-buildx' || true)
    "$here/need.sh" "${extra[@]/#/larder-no-such-command:}"
  fi
  link "/usr/bin:/usr/sbin:$PATH"
}

# apt_of_suite SUITE TOOL...: runs an apt command on one suite of Debian's archive, with its state in a separate folder.
apt_of_suite() {
  local state=$LARDER_DEV_DIR/apt-$1 tool=$2
  shift 2
  "$tool" -q -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state" \
    -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User= \
    -o Acquire::Check-Valid-Until=false "$@"
}

# unpack_suite SUITE MIRROR: unpacks the engine of a suite. Fails if this machine's C library is too old for it.
unpack_suite() {
  local suite=$1 mirror=$2 state=$LARDER_DEV_DIR/apt-$1
  rm -rf "$root" "$state" && mkdir -p "$root" "$state"/{lists,archives}/partial && touch "$state/status"
  echo "deb [target=Packages signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "$mirror $suite main" >"$state/sources.list"
  apt_of_suite "$suite" apt-get -qq update >&2
  # Without runc, which needs a newer C library than the rest. Every engine works with the distribution's.
  (cd "$state/archives" && apt_of_suite "$suite" apt-get -qq download docker.io docker-cli docker-buildx containerd >&2)
  for deb in "$state"/archives/*.deb; do dpkg -x "$deb" "$root"; done
  rm -rf "$state"
  "$root/usr/sbin/dockerd" --version >/dev/null && "$root/usr/bin/containerd" --version >/dev/null
}

# fetch_from SUITE...: installs the engine of the first suite that works on this machine.
fetch_from() {
  if [[ -x $home/bin/dockerd ]] && version >/dev/null; then return; fi
  root=$home/root
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "cannot fetch a newer engine: it comes from Debian's archive, and this machine has no apt" >&2
    exit 3
  fi
  if [[ ! -r /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
    "$here/need.sh" no-keyring:debian-archive-keyring || exit 3
  fi
  local suite mirror
  mirror=$(apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n1)
  if [[ -z $mirror ]]; then
    echo "cannot fetch a newer engine: it comes from Debian's archive, and apt has no source for that" >&2
    exit 3
  fi
  for suite; do
    if unpack_suite "$suite" "$mirror"; then
      link "$root/usr/bin:$root/usr/sbin"
      return
    fi
    echo "the engine of Debian's $suite is not available or does not run on this machine" >&2
  done
  exit 3
}

mkdir -p "$LARDER_DEV_DIR"
exec 9>"$LARDER_DEV_DIR/lock" && flock 9 # two runs must not unpack into one folder
case $kind in
distro) fetch_distro ;;
newer) fetch_from sid trixie ;;
trixie) fetch_from trixie ;;
*) echo "engine-fetch.sh: the argument must be distro, newer or trixie, not $kind" >&2 && exit 2 ;;
esac
version
