#!/usr/bin/env bash
# Purpose: make sure that commands are there; install the Debian or Ubuntu package of each one that is missing.
# Inputs:  COMMAND:PACKAGE ...   (a command counts as there when PATH or an sbin directory has it)
# Outputs: what is installed, on stderr, and apt's own words when that fails; exit 1 with the line to type when this user or machine cannot install.
#          No service is started or enabled by the installation.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  echo "missing here: ${missing[*]}" >&2
  echo "install them first, on Debian or Ubuntu with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# One installation at a time: apt does not wait for another one.
exec 9>/tmp/larder-apt.lock && flock 9
log=$(mktemp)
policy=/usr/sbin/policy-rc.d # packages ask this file before they start a daemon of theirs
if [[ -e $policy ]]; then policy=''; fi
trap 'rm -f "$log" ${policy:+"$policy"}' EXIT
if [[ -n $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

install() { DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" &>>"$log"; }
echo "installing ${missing[*]}" >&2
# The lists of a fresh machine are empty or old: the first attempt may fail for want of them.
install || { apt-get update -q &>>"$log" && install; } || {
  cat "$log" >&2
  exit 1
}
