//! Tests of the identity of mounts.

use std::collections::BTreeMap;

use super::*;
use crate::buildkit::llb::Sharing;
use crate::dockerfile::{Dockerfile, Options};

fn found(text: &str, args: &[(&str, &str)]) -> Mounts {
    let build_args: BTreeMap<String, String> =
        args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = Options {
        build_args: build_args.clone(),
        build_platform: "linux/amd64".to_owned(),
        ..Options::default()
    };
    cache_mounts(
        &Dockerfile::parse(text).unwrap().resolve(&options).unwrap(),
        &build_args,
        Variables::Expanded,
    )
}

/// Returns the only mount of a RUN with these options.
fn id(options: &str) -> String {
    let text = format!(
        "FROM scratch AS seed\nFROM scratch\nWORKDIR /app\nARG NAME=pip\nENV DIR=/srv/x\nRUN --mount=type=cache,{options} true\n"
    );
    found(&text, &[]).supported[0].id.to_string()
}

#[test]
fn a_mount_is_identified_by_its_id_or_target_and_its_origin() {
    for (options, expected) in [
        ("target=/root/.cache/pip", "//root/.cache/pip"),
        ("target=/root/./.cache//pip/", "//root/.cache/pip"),
        ("target=/root/../cache", "//cache"),
        ("target=cache", "/cache"),
        ("target=./cache/../x", "/x"),
        ("id=pip,target=/c", "/pip"),
        ("id=,target=/c", "//c"),
        ("id=a/../b,target=/c", "/a/../b"),
        ("id=$NAME-x,target=/c", "/pip-x"),
        ("dst=${DIR}/y", "//srv/x/y"),
        ("target=/c,sharing=locked", "//c"),
        ("target=/c,uid=1000", "//c of 1000:0 0755"),
        ("target=/c,gid=5", "//c of 0:5 0755"),
        ("target=/c,mode=0700", "//c of 0:0 0700"),
        ("target=/c,mode=02775,uid=1,gid=2", "//c of 1:2 0775"),
        ("target=/c,from=scratch", "//c"),
        ("target=/c,source=/", "//c"),
        ("target=/c,from=seed", "//c from seed:/"),
        ("target=/c,from=seed,source=a/../b", "//c from seed:/b"),
        ("target=/c,from=seed,source=b,uid=1", "//c from seed:/b"),
        ("target=/c,from=seed,mode=0700", "//c from seed:/ of 0:0 0700"),
        ("id=pip,target=/c,from=busybox:1", "/pip from busybox:1:/"),
    ] {
        assert_eq!(id(options), expected, "{options}");
    }
    let text = "FROM scratch\nRUN --mount=type=cache,target=/c true\n";
    assert_eq!(found(text, &[("BUILDKIT_CACHE_MOUNT_NS", "team")]).supported[0].id.buildkit_id, "team//c");
}

#[test]
fn each_mount_of_the_target_is_listed_once() {
    let text = "FROM scratch AS unreached\nRUN --mount=type=cache,target=/no true\n\
                FROM scratch AS base\nRUN --mount=type=cache,target=/c --mount=type=cache,id=o,target=/o true\n\
                FROM base\nRUN --mount=type=cache,target=/c,sharing=locked true\n\
                RUN --mount=type=cache,id=/c,target=/elsewhere true\n";
    let mounts = found(text, &[]);
    let listed: Vec<_> = (mounts.supported.iter())
        .map(|mount| {
            (
                mount.id.buildkit_id.as_str(),
                mount.sharing,
                mount.uses.iter().map(|used| used.line).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(listed, [("//c", Sharing::Locked, vec![4, 6, 7]), ("/o", Sharing::Shared, vec![4])]);
    assert_eq!(mounts.skipped, []);
}

#[test]
fn mounts_that_cannot_be_identified_are_skipped_with_the_reason() {
    let text = "FROM python:3\nRUN --mount=type=cache,id=$PYTHON_VERSION,target=/c true\n\
                RUN --mount=type=cache,target=/d,source=/seed true\n";
    let mounts = found(text, &[]);
    assert_eq!(mounts.supported, []);
    let reasons: Vec<_> = mounts.skipped.iter().map(|passed| (passed.used.line, passed.reason)).collect();
    assert_eq!(
        reasons,
        [
            (2, "its options depend on a variable that the base image may set"),
            (3, "its source is a directory of an empty file system"),
        ]
    );
}

#[test]
fn options_that_make_a_mount_useless_are_reported() {
    let text = "FROM python:3\nRUN --mount=type=cache,target=/root/.cache/pip pip install --no-cache-dir flask\n\
                RUN --mount=type=cache,target=/root/.cache/pip pip install flask && rm -rf /root/.cache/pip/x\n\
                RUN --mount=type=cache,target=/p,sharing=private,readonly make\n\
                ENV PIP_NO_CACHE_DIR=1\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask\n";
    assert_eq!(
        found(text, &[]).warnings,
        [
            "line 2: `--no-cache-dir` prevents pip from using the cache mount /root/.cache/pip; remove it",
            "line 3: `rm -rf /root/.cache/pip/x` prevents pip from using the cache mount /root/.cache/pip; remove it",
            "line 6: `PIP_NO_CACHE_DIR` prevents pip from using the cache mount /root/.cache/pip; remove it",
            "line 4: the cache mount /p is read-only, so nothing is added to it",
            "line 4: with sharing=private, a concurrent build gets a separate, empty /p, and larder may save either of them",
        ]
    );
    let fine = "FROM python:3\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask\n";
    assert_eq!(found(fine, &[]).warnings, [""; 0]);
}
