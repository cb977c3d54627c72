//! Tests of a local store with a remote.

use super::*;

#[test]
fn an_entry_of_a_different_machine_is_found_and_kept_locally() {
    let (here, there, remote) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = noise(31, 9_000_000);
    let saved = save(&open(here.path(), Some(remote.path()), terms("main")), "entry", &bytes);
    assert!(saved.faults.is_empty(), "{:?}", saved.faults);
    let other = open(there.path(), Some(remote.path()), terms("main"));
    let entry = find(&other, "entry").unwrap();
    let (back, faults) = content(&other, &entry).unwrap();
    assert!(back == bytes && faults.is_empty());
    let alone = open(there.path(), None, terms("main"));
    assert!(
        content(&alone, &find(&alone, "entry").unwrap()).unwrap().0 == bytes,
        "the hit was stored locally"
    );
}

#[test]
fn damaged_local_chunks_come_from_the_remote_and_are_counted() {
    let (here, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(here.path(), Some(remote.path()), terms("main"));
    let bytes = noise(32, 5_000_000);
    let entry = save(&store, "entry", &bytes).entry;
    std::fs::write(here.path().join(ChunkRef::path(&entry.manifest.chunks[0].digest)), "damage").unwrap();
    std::fs::remove_file(here.path().join(ChunkRef::path(&entry.manifest.chunks[1].digest))).unwrap();
    let (back, faults) = content(&store, &entry).unwrap();
    assert!(back == bytes);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(content(&store, &entry).unwrap().1.is_empty(), "the local copy is complete again");
}

#[test]
fn a_failing_remote_is_a_fault_and_the_entry_is_saved_locally() {
    let (here, remote) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let store = open(here.path(), Some(remote.path()), terms("main"));
    let saved = save(&store, "entry", b"content");
    assert_eq!(saved.faults.len(), 2, "{:?}", saved.faults);
    let found = store.find(EntryKind::Dir, "family", key("entry"), false);
    assert_eq!(content(&store, &found.entry.unwrap()).unwrap().0, b"content");
}

#[test]
fn chunks_that_exist_only_in_the_remote_are_reused() {
    let (here, there, remote) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = noise(33, 5_000_000);
    save(&open(there.path(), Some(remote.path()), terms("main")), "entry", &bytes);
    let store = open(here.path(), Some(remote.path()), terms("main"));
    let entry = find(&store, "entry").unwrap();
    let mut save = store.save(EntryKind::Dir, "family", key("next")).unwrap();
    assert_eq!(save.reuse(&entry.manifest.chunks).unwrap(), Some(0));
    let saved = save.commit(Subject::default(), ContentRange { at: 0, size: 0 }).unwrap();
    assert!(saved.faults.is_empty() && saved.added_bytes == 0, "{saved:?}");
    assert!(content(&store, &saved.entry).unwrap().0 == bytes);
}
