//! Tests that an entry is restored completely or not at all, whatever it and the directory contain.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::store::ChunkRef;

fn node(path: &str, kind: NodeKind) -> Node {
    let mtime = NodeTime(1_700_000_000, 1);
    Node {
        path: path.into(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime,
        xattrs: std::collections::BTreeMap::new(),
    }
}

fn file(path: &str, at: u64, size: u64) -> Node {
    node(path, NodeKind::File(FileData { size, at, ..FileData::default() }))
}

#[test]
fn a_refused_listing_changes_nothing_and_creates_no_directory() {
    let bench = TestDirectories::new();
    for nodes in [
        vec![file("../evil", 0, 4)],
        vec![node("a", NodeKind::Symlink { target: "../..".into() })],
        vec![file("a", 0, 4), file("b", 0, 4)],
        vec![file("a", 0, 4_000_000)],
    ] {
        let entry = bench.forge(nodes, b"evil");
        let error = bench.restore(&entry).unwrap_err();
        assert!(matches!(error, RestoreError::Unlisted(ListingError::Refused(_))), "{error}");
        assert!(!bench.path("to").exists() && !bench.path("evil").exists());
    }
}

#[test]
fn a_damaged_chunk_leaves_the_directory_unchanged() {
    let bench = TestDirectories::new();
    for number in 0..6 {
        bench.write(&format!("d/{number}"), &noise(number, 700_000));
    }
    let entry = bench.save(None).saved.entry;
    let lost = ChunkRef::path(&entry.manifest.chunks[3].digest);
    let path = bench.path("store").join(lost);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    fs::write(&path, bytes).unwrap();

    assert!(matches!(bench.restore(&entry), Err(RestoreError::Store(_))));
    assert!(!bench.path("to").exists(), "the created directory was removed");

    fs::create_dir_all(bench.path("to/d")).unwrap();
    fs::write(bench.path("to/d/0"), "mine").unwrap();
    let before = tree(&bench.path("to"));
    assert!(bench.restore(&entry).is_err());
    assert_eq!(tree(&bench.path("to")), before);
    assert_eq!(fs::read_dir(bench.path("to")).unwrap().count(), 1, "the staging directory was removed");
}

#[test]
fn links_in_the_directory_are_replaced_and_never_followed() {
    let bench = TestDirectories::new();
    bench.write("d/file", b"new");
    bench.write("plain", b"new");
    let entry = bench.save(None).saved.entry;
    let outside = bench.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "theirs").unwrap();
    fs::create_dir(bench.path("to")).unwrap();
    symlink(&outside, bench.path("to/d")).unwrap();
    symlink(outside.join("file"), bench.path("to/plain")).unwrap();
    let metadata = fs::metadata(&outside).unwrap();

    bench.restore(&entry).unwrap();
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((after.mode(), after.ctime_nsec()), (metadata.mode(), metadata.ctime_nsec()));
    assert!(bench.path("to/d").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read(bench.path("to/d/file")).unwrap(), b"new");
    assert!(bench.path("to/plain").symlink_metadata().unwrap().is_file());
}

#[test]
fn a_hard_link_to_a_file_outside_is_replaced_and_the_file_is_unchanged() {
    let bench = TestDirectories::new();
    bench.write("plain", &noise(1, 3_000_000));
    let entry = bench.save(None).saved.entry;
    fs::create_dir(bench.path("to")).unwrap();
    fs::write(bench.path("theirs"), "theirs").unwrap();
    fs::hard_link(bench.path("theirs"), bench.path("to/plain")).unwrap();
    bench.restore(&entry).unwrap();
    assert_eq!(fs::read(bench.path("theirs")).unwrap(), b"theirs");
}

#[test]
fn a_directory_in_place_of_a_file_is_refused_and_a_file_in_place_of_a_directory_is_replaced() {
    let bench = TestDirectories::new();
    bench.write("a/b", b"new");
    bench.write("c", b"new");
    let entry = bench.save(None).saved.entry;
    fs::create_dir_all(bench.path("to/c")).unwrap();
    let error = bench.restore(&entry).unwrap_err();
    assert!(matches!(&error, RestoreError::DirectoryInTheWay(path) if path == "c"), "{error}");
    assert_eq!(fs::read_dir(bench.path("to")).unwrap().count(), 1);

    fs::remove_dir(bench.path("to/c")).unwrap();
    fs::write(bench.path("to/a"), "a file").unwrap();
    bench.restore(&entry).unwrap();
    assert_eq!(fs::read(bench.path("to/a/b")).unwrap(), b"new");
}

#[test]
fn stale_staging_directories_are_removed_and_those_in_use_are_kept() {
    let bench = TestDirectories::new();
    bench.write("a", b"new");
    let entry = bench.save(None).saved.entry;
    for name in [".larder-restore-dead", ".larder-restore-live"] {
        fs::create_dir_all(bench.path("to").join(name)).unwrap();
        fs::write(bench.path("to").join(name).join("0"), "part").unwrap();
    }
    let live = fs::File::open(bench.path("to/.larder-restore-live")).unwrap();
    rustix::fs::flock(&live, rustix::fs::FlockOperation::LockExclusive).unwrap();
    bench.restore(&entry).unwrap();
    assert!(!bench.path("to/.larder-restore-dead").exists());
    assert!(bench.path("to/.larder-restore-live/0").exists());
}

#[test]
fn stopping_a_restore_removes_its_staging_directory() {
    let bench = TestDirectories::new();
    bench.write("a", &noise(1, 2_000_000));
    let entry = bench.save(None).saved.entry;
    fs::create_dir(bench.path("to")).unwrap();
    let meter = Meter::default();
    meter.stop();
    let stopped = restore(&bench.store, &entry, &bench.path("to"), RestoreOptions::default(), &meter);
    assert!(matches!(stopped, Err(RestoreError::Interrupted)));
    assert_eq!(fs::read_dir(bench.path("to")).unwrap().count(), 0);
}
