#!/usr/bin/env bash
# Purpose: install the Debian or Ubuntu package of each command that is missing.
# Inputs:  COMMAND:PACKAGE ...   (a command is looked for in PATH and in the sbin directories)
# Outputs: stderr: the packages that are installed, and apt's output if that fails. Exit 1 with the command to type if
#          this user or machine cannot install packages. The installation does not start or enable any service.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "missing packages: ${missing[*]}" >&2
  echo "install them first, on Debian or Ubuntu with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# One installation at a time, because apt does not wait for a running one.
exec 9>/tmp/larder-apt.lock && flock 9
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # packages query this file before they start their daemons
if [[ -e $policy ]]; then policy=''; fi
trap 'rm -f "$log" ${policy:+"$policy"}' EXIT
if [[ -n $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

install() { DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" &>>"$log"; }
echo "installing ${missing[*]}" >&2
# The package lists of a fresh machine are empty or old, so the first attempt may fail.
install || { apt-get update -q &>>"$log" && install; } || {
  cat "$log" >&2
  exit 1
}
