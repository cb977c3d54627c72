#!/usr/bin/env bash
# Purpose: install object stores, without starting them: two independent implementations of S3, which behave
#          differently, and a WebDAV server. Each test starts its own server.
# Inputs:  LARDER_DEV_DIR   stores them between runs; the configuration of cargo and pip selects where they come from
# Outputs: stdout: shell commands that export their paths
#            LARDER_TEST_S3S_FS     S3 on a directory, which verifies signatures
#            LARDER_TEST_MINISTACK  S3 in memory
#            LARDER_TEST_WSGIDAV    WebDAV on a directory
#            ACTIONS_CACHE_SERVICE_V2   a variable that GitHub sets, for the tests of the GitHub Actions cache
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib/venv.sh
. "$here/lib/venv.sh"
s3s_version=0.14.1 # the newest version that compiles with the Rust version of Cargo.toml
s3s=${LARDER_DEV_DIR:?}/s3s-fs-$s3s_version

if [[ ! -x $s3s/bin/s3s-fs ]]; then
  mkdir -p "$LARDER_DEV_DIR"
  (
    flock 9
    target=$(mktemp -d "$LARDER_DEV_DIR/s3s-fs.XXXXXX")
    trap 'rm -rf "$target"' EXIT
    # A debug build compiles faster, and the server does not need to be fast.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --locked --features binary --version "$s3s_version" --root "$s3s" --target-dir "$target" --debug s3s-fs
  ) 9>"$LARDER_DEV_DIR/s3s-fs.lock" >&2
fi
venv_need ministack:ministack==1.5.33 wsgidav:wsgidav==4.4.0 cheroot:cheroot

printf 'export %s=%q\n' \
  LARDER_TEST_S3S_FS "$s3s/bin/s3s-fs" \
  LARDER_TEST_MINISTACK "$venv/bin/ministack" \
  LARDER_TEST_WSGIDAV "$venv/bin/wsgidav" \
  ACTIONS_CACHE_SERVICE_V2 true
