#!/usr/bin/env bash
# Purpose: get servers that keep objects, without starting one: two of S3 by different hands, for they differ, and one of
#          WebDAV. The tests start them, each its own.
# Inputs:  LARDER_DEV_DIR   where they are kept between runs; cargo's and pip's own configuration say where they come from
# Outputs: stdout: lines of shell that export where they are
#            LARDER_TEST_S3S_FS     S3 on a directory, with real signatures
#            LARDER_TEST_MINISTACK  S3 in memory
#            LARDER_TEST_WSGIDAV    WebDAV on a directory
#            ACTIONS_CACHE_SERVICE_V2   what GitHub sets, for the tests of its cache, whose server is the tests' own
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib/venv.sh
. "$here/lib/venv.sh"
s3s_version=0.14.1 # the newest that the Rust of Cargo.toml builds
s3s=${LARDER_DEV_DIR:?}/s3s-fs-$s3s_version

if [[ ! -x $s3s/bin/s3s-fs ]]; then
  mkdir -p "$LARDER_DEV_DIR"
  (
    flock 9
    target=$(mktemp -d "$LARDER_DEV_DIR/s3s-fs.XXXXXX")
    trap 'rm -rf "$target"' EXIT
    # Tests, not benchmarks: what it saves in time to build is more than what it loses.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --locked --features binary --version "$s3s_version" --root "$s3s" --target-dir "$target" --debug s3s-fs
  ) 9>"$LARDER_DEV_DIR/s3s-fs.lock" >&2
fi
venv_need ministack:ministack==1.5.33 wsgidav:wsgidav==4.4.0 cheroot:cheroot

printf 'export %s=%q\n' \
  LARDER_TEST_S3S_FS "$s3s/bin/s3s-fs" \
  LARDER_TEST_MINISTACK "$venv/bin/ministack" \
  LARDER_TEST_WSGIDAV "$venv/bin/wsgidav" \
  ACTIONS_CACHE_SERVICE_V2 true
