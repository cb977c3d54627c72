#!/usr/bin/env bash
# Purpose: compare larder key with sha256sum of every file, and an image hit of larder build with docker build, for a
#          large context.
# Inputs:  DOCKER_HOST  an engine to use; otherwise a private one is started (root)
#          LARDER       a larder to use instead of a release build of this checkout
#          ROUNDS       counted rounds of each pair (default 9, at least 5), after one round to warm up
# Outputs: a line for each pair: medians in milliseconds, their ratio and the bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"

step "tools" "$scripts/need.sh" jq:jq curl:curl
step "engine" bench_engine
step "base image" "$scripts/base-image.sh" busybox
step "larder itself" build_larder
start_pairs
step "context" large_context

changed=$work/large/src/42/x007
key() { "$LARDER" key "$work/large"; }
digest_all() { (cd "$work/large" && find . -type f -print0 | xargs -0 -P "$(nproc)" -n 200 sha256sum); }
hit() { "$LARDER" build -t bench/larder "$work/large"; }
cached() { docker build -t bench/docker "$work/large"; }

forget_index() { rm -rf "$HOME/.cache/larder"; }
# larder trusts timestamps that are two seconds old, so that it reads only the edited file.
change_one() { head -c 50000 /dev/urandom >"$changed" && sleep 2.1; }

# larder does not trust the timestamps of files that were just written.
sleep 2.1
pair "first key of 10 000 files, 500 MB" 1.0 forget_index key digest_all
key >/dev/null
pair "key again, unchanged" 0.1 nothing key digest_all
pair "key again, one file changed" 0.15 change_one key digest_all
hit >/dev/null 2>&1 && cached >/dev/null 2>&1
pair "exact hit of that context" 0.5 nothing hit cached
exit "$failed"
