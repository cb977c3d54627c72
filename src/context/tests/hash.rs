//! Tests of the digests of entries.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use filetime::FileTime;
use proptest::prelude::*;

use super::super::{
    ContextEntry, ContextError, FileDigest, FileKind, Filter, StatIndex, digest_entries, walk,
};
use super::write_files;
use crate::digest::Digest;

fn entries(root: &Path) -> Vec<ContextEntry> {
    walk(root, &Filter::default()).unwrap().map(Result::unwrap).collect()
}

fn digests(root: &Path) -> Vec<FileDigest> {
    digest_entries(&mut entries(root), &StatIndex::default()).unwrap()
}

#[test]
fn every_kind_of_file_is_digested_as_the_build_sees_it() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let large = "0123456789abcdef".repeat(100_000);
    write_files(root.path(), &[("dir/file", "content"), ("empty", ""), ("large", &large)]);
    fs::hard_link(at("dir/file"), at("twin")).unwrap();
    symlink("dir/file", at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (name, mode) in [
        ("dir", 0o2750),
        ("dir/file", 0o4755),
        ("empty", 0o644),
        ("large", 0o600),
        ("pipe", 0o600),
        ("socket", 0o700),
    ] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let expected = [
        ("dir", FileKind::Directory, 0o2750, "", 0),
        ("dir/file", FileKind::File, 0o4755, "content", 7),
        ("empty", FileKind::File, 0o644, "", 0),
        ("large", FileKind::File, 0o600, &large, 1_600_000),
        ("link", FileKind::Symlink, 0o777, "dir/file", 8),
        ("pipe", FileKind::Fifo, 0o600, "", 0),
        ("socket", FileKind::File, 0o700, "", 0),
        ("twin", FileKind::File, 0o4755, "content", 7),
    ]
    .map(|(path, kind, mode, digested, size)| FileDigest {
        path: path.to_owned(),
        kind,
        mode,
        digest: Digest::of(digested.as_bytes()),
        xattrs: None,
        size,
    });
    assert_eq!(digests(root.path()), expected);
}

#[test]
fn a_hard_link_has_the_digest_of_the_content_even_without_its_first_name() {
    let root = tempfile::tempdir().unwrap();
    write_files(root.path(), &[("first", "content")]);
    fs::hard_link(root.path().join("first"), root.path().join("second")).unwrap();
    let second = digest_entries(&mut entries(root.path()).split_off(1), &StatIndex::default()).unwrap();
    assert_eq!((second[0].path.as_str(), second[0].digest), ("second", Digest::of(b"content")));
}

#[test]
fn attributes_count_except_for_labels_of_security_modules() {
    // The file system of the temporary directory may not support attributes.
    let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    write_files(root.path(), &[("file", "content")]);
    let attributes = || digests(root.path())[0].xattrs;
    assert_eq!(attributes(), None);
    let set = |name: &str, value: &[u8]| xattr::set(root.path().join("file"), name, value).unwrap();
    set("user.a", b"bc");
    let first = attributes();
    assert!(first.is_some());
    set("user.a", b"b");
    let second = attributes();
    set("user.ab", b"");
    assert!(first != second && second != attributes());
    let label = std::collections::BTreeMap::from([("security.selinux".to_owned(), b"a:b:c:s0".to_vec())]);
    assert_eq!(super::super::hash::digest_attributes(label), None);
}

/// Changes a file between the walk and the digest.
type FileChange = fn(&Path);

#[test]
fn a_file_that_changed_since_the_walk_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let changes: [(&str, FileChange); 6] = [
        ("grown", |path| fs::write(path, "more content").unwrap()),
        ("shrunk", |path| fs::write(path, "").unwrap()),
        ("rewritten", |path| {
            fs::write(path, "CONTENT").unwrap();
            filetime::set_file_mtime(path, FileTime::from_unix_time(1, 0)).unwrap();
        }),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/zero", path).unwrap();
        }),
        ("a pipe now", |path| {
            fs::remove_file(path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, change) in changes {
        let path = root.path().join(name);
        fs::write(&path, "content").unwrap();
        let mut walked = entries(root.path());
        change(&path);
        let error = digest_entries(&mut walked, &StatIndex::default()).unwrap_err();
        let named = match &error {
            ContextError::Vanished { path } if name == "gone" => path,
            ContextError::Changed { path } if name != "gone" => path,
            _ => panic!("{name}: {error:?}"),
        };
        assert!(named.ends_with(name), "{error}");
        let _ = fs::remove_file(&path);
    }
}

/// Generates a small tree: paths with content, where no path is below a file.
fn files() -> impl Strategy<Value = Vec<(String, String)>> {
    let directory = prop::sample::select(vec!["", "a/", "b/", "a.b/", "a/b/c/"]);
    let file = (directory, "[a-z]{3}", "[a-z]{0,9}")
        .prop_map(|(directory, name, text)| (directory.to_owned() + &name, text));
    prop::collection::vec(file, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn digests_depend_on_content_and_not_on_order_or_times(
        files in files(),
        seconds in 0..2_000_000_000_i64,
        changed in any::<prop::sample::Index>(),
    ) {
        let unique: std::collections::BTreeMap<_, _> = files.iter().cloned().collect();
        let write = |root: &Path, path: &str, text: &str| {
            write_files(root, &[(path, text)]);
            filetime::set_file_mtime(root.join(path), FileTime::from_unix_time(seconds, 7)).unwrap();
        };
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (path, text) in &unique {
            write_files(one.path(), &[(path, text)]);
        }
        for (path, text) in unique.iter().rev() {
            write(two.path(), path, text);
        }
        let before = digests(one.path());
        prop_assert!(before.is_sorted_by(|a, b| a.path < b.path));
        prop_assert_eq!(&before, &digests(two.path()));

        let (path, text) = unique.iter().nth(changed.index(unique.len())).unwrap();
        write(two.path(), path, &format!("{text}!"));
        let differing: Vec<_> = digests(two.path()).into_iter().filter(|digest| !before.contains(digest)).collect();
        prop_assert_eq!(differing.len(), 1);
        prop_assert_eq!(&differing[0].path, path);
    }
}
