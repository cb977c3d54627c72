#!/usr/bin/env bash
# Purpose: make sure that commands are there; install the Debian or Ubuntu package of each one that is missing.
# Inputs:  COMMAND:PACKAGE ...   (a command counts as there when PATH or an sbin directory has it)
# Outputs: apt's own log on stderr; exit 1 with the line to type when this user or machine cannot install.
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

# Packages ask this file before they start a daemon of theirs; a file that is already there is the machine owner's.
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
install=(apt-get install -q -y --no-install-recommends "${missing[@]}")
export DEBIAN_FRONTEND=noninteractive
echo "installing ${missing[*]}" >&2
# The lists of a fresh machine are empty or old: the first attempt may fail for want of them.
"${install[@]}" >&2 2>/dev/null || { apt-get update -q >&2 && "${install[@]}" >&2; }
