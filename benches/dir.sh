#!/usr/bin/env bash
# Purpose: compare larder dir save and restore with tar and zstd, for a pip cache of 58 wheels, 180 MB. Needs no engine.
# Inputs:  LARDER       a larder to use instead of a release build of this checkout
#          ROUNDS       counted rounds of each pair (default 9, at least 5), after one round to warm up
#          SLOW=1       also measure the memory for 5 GB of random files; needs 15 GB of disk space in /tmp
#          LARDER_DEV_DIR   stores the wheels between runs; pip's configuration selects where they come from
# Outputs: a line for each pair: medians in milliseconds or bytes, ratio and bound; exit 1 if a bound is not met.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail
# shellcheck source=scripts/lib/session.sh
. "$(dirname "$0")/../scripts/lib/session.sh"
# shellcheck source=scripts/lib/pairs.sh
. "$scripts/lib/pairs.sh"

# shellcheck source=scripts/lib/pip-cache.sh
. "$scripts/lib/pip-cache.sh"

cd "$LARDER_RUN_DIR"
step "tools" "$scripts/need.sh" python3:python3 zstd:zstd tar:tar
step "wheels" wheels
step "larder itself" build_larder
start_pairs
step "pip cache" pip_cache
cd "$work"
touch requirements.txt

save() { "$LARDER" dir save cache --key-files requirements.txt; }
restore() { "$LARDER" dir restore "$1" --name "${2:-cache}" --key-files requirements.txt; }
pack() { tar -C "${1:-cache}" -cf - . | zstd -q -f -3 -T0 -o "${2:-peer.tar.zst}"; }
unpack() { mkdir -p empty && zstd -d -q -c peer.tar.zst | tar -C empty -xf -; }

forget() { rm -rf "$HOME/.cache/larder"; }
forget_directory() { rm -rf empty; }
restore_empty() { restore empty; }
restore_same() { restore cache; }

# larder does not trust the timestamps of files that were just written.
sleep 2.1
pair "save a pip cache of 180 MB, cold" 1.1 forget save pack
save >"$work/log" 2>&1
pair "restore it into an empty directory" 1.3 forget_directory restore_empty unpack
diff -r cache empty
pair "save, nothing changed" 0.1 nothing save pack
pair "restore, nothing changed" 0.1 nothing restore_same unpack

# ten_saves: compares the disk space, in MB, of ten saves with one changed wheel each and of ten archives.
ten_saves() {
  local round body size theirs=0 all
  forget
  mapfile -t all < <(find cache -name '*.body' -size +100k | sort)
  for round in {0..9}; do
    body=${all[round * ${#all[@]} / 10]}
    size=$(stat -c %s "$body")
    if ((round)); then head -c "$size" /dev/urandom >"$body"; fi
    echo "round==$round" >requirements.txt
    save >"$work/log" 2>&1
    pack cache peer-round.tar.zst
    theirs=$((theirs + $(stat -c %s peer-round.tar.zst)))
  done
  compare "ten saves, one wheel changed each" 0.15 "$(du -sk "$HOME/.cache/larder" | awk '{ print $1 / 1000 }')" $((theirs / 1000000)) MB
}
ten_saves

# memory: compares the peak memory of saving and of restoring 5 GB with the documented limit of 200 MB.
memory() {
  local number
  forget && rm -rf empty
  for number in {1..50}; do mkdir -p "big/$((number % 7))" && head -c 100000000 /dev/urandom >"big/$((number % 7))/$number"; done
  "$scripts/need.sh" time:time
  command time -f %M -o save.mem "$LARDER" dir save big --key-files requirements.txt >"$work/log" 2>&1
  command time -f %M -o restore.mem "$LARDER" dir restore empty --name big --key-files requirements.txt >"$work/log" 2>&1
  compare "memory of saving 5 GB" 1 "$(awk '{ print $1 / 1000 }' save.mem)" 200 MB
  compare "memory of restoring 5 GB" 1 "$(awk '{ print $1 / 1000 }' restore.mem)" 200 MB
}
if [[ -n ${SLOW:-} ]]; then memory; fi
exit "$failed"
