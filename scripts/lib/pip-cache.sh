# shellcheck shell=bash
# Purpose: a pip cache for measurements: 58 real wheels, 180 MB. Source this after session.sh and pairs.sh.
# Inputs:  LARDER_DEV_DIR   stores the wheels between runs; pip's configuration selects where they come from
# shellcheck disable=SC2154 # $scripts and $work come from those files
# Outputs: after wheels and pip_cache: $work/cache, 232 files in the layout of pip's cache
packages=(numpy pandas scipy scikit-learn matplotlib pyarrow flask requests transformers)

# wheels: downloads the packages once, and sets $wheels to their folder.
wheels() {
  wheels=$LARDER_DEV_DIR/wheels-bench
  mkdir -p "$LARDER_DEV_DIR"
  (
    flock 9
    [[ ! -d $wheels ]] || exit 0
    if [[ ! -x $LARDER_DEV_DIR/venv/bin/pip ]]; then
      python3 -c 'import venv, ensurepip' 2>/dev/null || "$scripts/need.sh" no-venv:python3-venv
      python3 -m venv "$LARDER_DEV_DIR/venv"
    fi
    rm -rf "$wheels.part"
    "$LARDER_DEV_DIR/venv/bin/pip" download -q --only-binary=:all: --python-version 3.11 -d "$wheels.part" "${packages[@]}"
    mv "$wheels.part" "$wheels"
  ) 9>"$LARDER_DEV_DIR/wheels-bench.lock" >&2
}

# slot NAME: prints the path of a cached response in the layout of pip's cache.
slot() {
  local digest
  digest=$(sha256sum <<<"$1" | cut -c1-56)
  echo "http-v2/${digest:0:1}/${digest:1:1}/${digest:2:1}/${digest:3:1}/${digest:4:1}/$digest"
}

# pip_cache: creates $work/cache in the layout of pip's cache: a header and a body for each wheel and each index page.
pip_cache() {
  local wheel name place
  for wheel in "$wheels"/*.whl; do
    name=${wheel##*/}
    for place in "$(slot "$name")" "$(slot "page of $name")"; do
      mkdir -p "$work/cache/${place%/*}"
      head -c 700 /dev/urandom | base64 -w 0 >"$work/cache/$place"
    done
    cp "$wheel" "$work/cache/$(slot "$name").body"
    head -c 6000 /dev/urandom | base64 >"$work/cache/$(slot "page of $name").body"
  done
  find "$work/cache" -type f | wc -l >&2
  du -sm "$work/cache" >&2
}
