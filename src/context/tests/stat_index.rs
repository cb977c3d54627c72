//! Tests of which files the stat index saves from being read, and of its encoding.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use filetime::FileTime;
use proptest::prelude::*;

use super::super::{ContextEntry, FileDigest, Filter, StatIndex, digest_entries, walk};
use super::write_files;
use crate::digest::Digest;

fn entries(root: &Path) -> Vec<ContextEntry> {
    walk(root, &Filter::default()).unwrap().map(Result::unwrap).collect()
}

fn keyed(root: &Path, index: &StatIndex, walked: SystemTime) -> (Vec<FileDigest>, Option<StatIndex>) {
    let mut entries = entries(root);
    let digests = digest_entries(&mut entries, index).unwrap();
    let learnt = index.updated(&entries, &digests, walked);
    (digests, learnt)
}

/// Returns a time at which everything written so far is older than the resolution of time stamps.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_mins(1)
}

#[test]
fn an_unchanged_file_is_not_read_again_and_a_changed_one_is() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    write_files(root.path(), &[("a", "one"), ("b", "two"), ("dir/c", "three")]);
    let (first, index) = keyed(root.path(), &StatIndex::default(), later());
    let index = index.unwrap();

    // The index contains a wrong digest for "a", which shows that the file is not read.
    let mut wrong = first.clone();
    wrong[0].digest = Digest::of(b"from the index");
    let index_with_wrong = StatIndex::default().updated(&entries(root.path()), &wrong, later()).unwrap();
    assert_eq!(keyed(root.path(), &index_with_wrong, later()).0, wrong);

    assert_eq!(keyed(root.path(), &index, later()), (first.clone(), None));

    // If the size is the same and the modification time is reset, only the change time shows a write.
    let modified = FileTime::from_last_modification_time(&fs::metadata(at("b")).unwrap());
    fs::write(at("b"), "TWO").unwrap();
    filetime::set_file_mtime(at("b"), modified).unwrap();
    let (second, index) = keyed(root.path(), &index, later());
    let changed: Vec<_> = second.iter().filter(|file| !first.contains(file)).collect();
    assert_eq!((changed.len(), changed[0].digest), (1, Digest::of(b"TWO")));
    assert_eq!(keyed(root.path(), &index.unwrap(), later()), (second, None));
}

#[test]
fn a_file_with_a_recent_stamp_is_read_every_time() {
    let root = tempfile::tempdir().unwrap();
    write_files(root.path(), &[("just/written", "x")]);
    let (_, learnt) = keyed(root.path(), &StatIndex::default(), SystemTime::now());
    assert_eq!(learnt, None);
}

#[test]
fn files_of_other_builds_stay_in_the_index_up_to_a_limit() {
    let root = tempfile::tempdir().unwrap();
    write_files(root.path(), &[("a", "1"), ("b", "2")]);
    let (_, both) = keyed(root.path(), &StatIndex::default(), later());
    fs::write(root.path().join("a"), "changed").unwrap();
    let mut only_a = entries(root.path());
    only_a.retain(|entry| entry.path == "a");
    let digests = digest_entries(&mut only_a, both.as_ref().unwrap()).unwrap();
    let index = both.unwrap().updated(&only_a, &digests, later()).unwrap();
    assert_eq!(keyed(root.path(), &index, later()).1, None, "`b` is still in the index");

    for round in 0..20 {
        let _ = fs::remove_file(root.path().join(format!("new-{}", round - 1)));
        write_files(root.path(), &[(&format!("new-{round}"), "x")]);
    }
    let (_, index) = keyed(root.path(), &index, later());
    let size = index.unwrap().encode().len();
    assert!(size < 1000, "{size}");
}

#[test]
fn an_invalid_index_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write_files(root.path(), &[("a", "1"), ("dir/b", "2")]);
    let (_, index) = keyed(root.path(), &StatIndex::default(), later());
    let bytes = index.as_ref().unwrap().encode();
    assert_eq!(StatIndex::decode(&bytes), index);
    assert_eq!(StatIndex::decode(b""), None);
    for cut in 0..bytes.len() {
        assert_eq!(StatIndex::decode(&bytes[..cut]), None, "{cut}");
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        assert_eq!(StatIndex::decode(&damaged), None, "{place}");
    }
}

proptest! {
    #[test]
    fn an_invalid_index_with_a_valid_digest_is_refused_without_a_panic(mut body in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        if magic {
            body.splice(0..0, *b"larder-stat-index-v1\n");
        }
        let seal = Digest::of(&body);
        body.extend(seal.as_bytes());
        let index = StatIndex::decode(&body);
        prop_assert!(index.is_none_or(|index| index.encode() == body));
    }
}
