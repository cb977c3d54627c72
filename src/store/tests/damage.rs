//! Tests that an entry is correct or absent whatever happens to its files, and that the fault is counted with its
//! reason.

use super::*;
use crate::store::backend::FaultReason;

type Damage = fn(&Path);

/// Returns all kinds of damage that can happen to a file.
fn harms() -> Vec<(&'static str, Damage)> {
    vec![
        ("emptied", |path| std::fs::write(path, "").unwrap()),
        ("truncated", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("flipped", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(path, bytes).unwrap();
        }),
        ("overwritten", |path| {
            std::fs::write(path, "not what was here, but long enough for a frame").unwrap();
        }),
        ("replaced by a pipe", |path| {
            std::fs::remove_file(path).unwrap();
            let pipe = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, pipe, 0o600.into(), 0).unwrap();
        }),
        ("replaced by a directory", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ]
}

#[test]
fn a_damaged_chunk_is_a_counted_miss_and_the_next_save_repairs_it() {
    for (harm, apply) in harms() {
        let base = tempfile::tempdir().unwrap();
        let store = open(base.path(), None, terms("main"));
        let bytes = noise(11, 3_000_000);
        let entry = save(&store, "entry", &bytes).entry;
        apply(&base.path().join(ChunkRef::path(&entry.manifest.chunks[1].digest)));
        let error = content(&store, &entry).unwrap_err();
        assert_eq!(error.reason(), FaultReason::Damaged, "{harm}: {error}");
        assert_eq!(find(&store, "entry"), None, "{harm}: an incomplete entry is not found again");
        save(&store, "entry", &bytes);
        let healed = find(&store, "entry").unwrap();
        assert!(content(&store, &healed).unwrap().0 == bytes, "{harm}");
    }
}

#[test]
fn a_missing_chunk_is_a_counted_miss() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let entry = save(&store, "entry", &noise(12, 3_000_000)).entry;
    std::fs::remove_file(base.path().join(ChunkRef::path(&entry.manifest.chunks[0].digest))).unwrap();
    assert_eq!(content(&store, &entry).unwrap_err().reason(), FaultReason::Missing);
    assert_eq!(find(&store, "entry"), None);
}

#[test]
fn a_damaged_manifest_is_counted_as_a_miss_once() {
    for (harm, apply) in harms() {
        let base = tempfile::tempdir().unwrap();
        let store = open(base.path(), None, terms("main"));
        save(&store, "entry", b"content");
        apply(&files(&base.path().join("entries"))[0]);
        let found = store.find(EntryKind::Dir, "family", key("entry"), true);
        assert_eq!(found.entry, None, "{harm}");
        // Some file systems list a pipe or directory of this name, and some do not.
        if !harm.starts_with("replaced by a directory") {
            assert_eq!(
                found.faults.iter().map(StoreError::reason).collect::<Vec<_>>(),
                [FaultReason::Damaged],
                "{harm}"
            );
        }
        let again = store.find(EntryKind::Dir, "family", key("entry"), true);
        assert!(again.entry.is_none() && again.faults.is_empty(), "{harm}: {:?}", again.faults);
        save(&store, "entry", b"content");
        assert!(find(&store, "entry").is_some(), "{harm}");
    }
}

#[test]
fn a_manifest_at_a_wrong_path_is_not_used() {
    let base = tempfile::tempdir().unwrap();
    let other = open(base.path(), None, terms("pr-7"));
    save(&other, "entry", b"poison");
    let from = base.path().join("entries/pr-7");
    std::fs::rename(from, base.path().join("entries/main")).unwrap();
    let ours = open(base.path(), None, terms("main"));
    let found = ours.find(EntryKind::Dir, "family", key("entry"), true);
    assert_eq!(found.entry, None);
    assert_eq!(found.faults[0].reason(), FaultReason::Damaged);
}

#[test]
fn foreign_files_are_ignored() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    save(&store, "entry", b"content");
    let place = files(&base.path().join("entries"))[0].parent().unwrap().to_owned();
    for name in ["README", ".DS_Store", "x.json", "a.b.c.json"] {
        std::fs::write(place.join(name), "hello").unwrap();
    }
    let found = store.find(EntryKind::Dir, "family", key("entry"), true);
    assert!(found.entry.is_some() && found.faults.is_empty());
}
