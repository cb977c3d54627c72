#!/usr/bin/env bash
# Purpose: put a base image into an engine, without a registry if none can be reached.
#            busybox  larder-test/busybox:1, made from busybox-static; the user app has uid 1000
#            python   larder-demo/python:3: Docker Hub's python:3-slim if it can be reached, otherwise made with debootstrap
#                     (root, once)
# Inputs:  busybox | python
#          DOCKER_HOST etc. select the engine; DOCKER is the client (default docker); LARDER_DEV_DIR stores the tarballs
# Outputs: the image in the engine; its name on stdout
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
docker=${DOCKER:-docker}
cache=${LARDER_DEV_DIR:?}/base
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# tarball FILE FUNCTION: creates FILE, once for all engines and runs, from the files that FUNCTION writes to a folder.
tarball() {
  local file=$1 work owner=()
  shift
  if ((EUID != 0)); then owner=(--owner=0 --group=0); fi
  if [[ ! -e $file ]]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/work.XXXXXX")
    "$@" "$work"
    tar -C "$work" --numeric-owner "${owner[@]}" -cf "$work.tar" . && mv "$work.tar" "$file"
    rm -rf "$work"
  fi
}

fill_busybox() {
  local root=$1 applet lib
  "$here/need.sh" busybox:busybox-static
  chmod 755 "$root"
  mkdir -p "$root"/{bin,etc,home/app,root,usr} && mkdir -m 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  # If the machine has the dynamically linked package, the image needs its libraries, too.
  for lib in $(ldd "$root/bin/busybox" 2>/dev/null | grep -o '/[^ ]*'); do cp -L --parents "$lib" "$root"; done
  for applet in $("$root/bin/busybox" --list); do
    if [[ ! -e $root/bin/$applet ]]; then ln -s busybox "$root/bin/$applet"; fi
  done
  ln -s ../bin "$root/usr/bin"
  printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\napp:x:1000:\n' >"$root/etc/group"
  if ((EUID == 0)); then chown 1000:1000 "$root/home/app"; fi
}

fill_python() {
  local root=$1 origin
  ((EUID == 0)) || { echo "Docker Hub cannot be reached; making a Python base image without it needs root (debootstrap)" >&2 && return 1; }
  "$here/need.sh" debootstrap:debootstrap
  # shellcheck source=/dev/null
  origin=$(. /etc/os-release && echo "${ID^}")
  local mirror suite components=main
  read -r mirror suite < <(apt-get indextargets --format "\$(REPO_URI) \$(CODENAME)" 'Created-By: Packages' "Origin: $origin" 'Component: main')
  if [[ $origin == Ubuntu ]]; then components=main,universe; fi
  chmod 755 "$root"
  debootstrap --variant=minbase --components="$components" --include=python3,python3-pip,python3-venv,ca-certificates \
    "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 30 "$root.log" >&2 && return 1; }
  rm "$root.log"
  # The image trusts the same certificate authorities as this machine.
  if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; fi
  rm -rf "$root"/var/{cache/apt,lib/apt/lists,log}/* "$root"/usr/share/{doc,man,locale}/*
}

import() {
  "$docker" import --change "ENV PATH=$path" --change "CMD [\"$3\"]" "$1" "$2" >/dev/null
  echo "$2"
}

hub_answers() { [[ $(curl -s -o /dev/null -m 4 -w '%{http_code}' https://registry-1.docker.io/v2/) == 401 ]]; }

mkdir -p "$cache"
exec 9>"$cache/lock" && flock 9 # one run makes a tarball, others wait for it
case ${1:-} in
busybox)
  tarball "$cache/busybox.tar" fill_busybox
  import "$cache/busybox.tar" larder-test/busybox:1 /bin/sh
  ;;
python)
  if hub_answers && "$docker" pull -q python:3-slim >&2; then
    "$docker" tag python:3-slim larder-demo/python:3
    echo larder-demo/python:3
  else
    tarball "$cache/python.tar" fill_python
    import "$cache/python.tar" larder-demo/python:3 python3
  fi
  ;;
*) echo "base-image.sh: the argument must be busybox or python" >&2 && exit 2 ;;
esac
