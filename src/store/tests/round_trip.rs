//! Tests that saved content is restored, and that equal content is stored once.

use super::*;

#[test]
fn saved_content_is_loaded_unchanged() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("one", vec![7]),
        ("zeros", vec![0; 9_000_000]),
        ("noise", noise(1, 20_000_000)),
    ] {
        let saved = save(&store, name, &bytes);
        assert!(saved.faults.is_empty(), "{:?}", saved.faults);
        let entry = find(&store, name).unwrap();
        assert_eq!(entry, saved.entry);
        let (back, faults) = content(&store, &entry).unwrap();
        assert!(back == bytes && faults.is_empty(), "{name}: {faults:?}");
    }
    assert_eq!(find(&store, "other"), None);
    assert!(files(&base.path().join("saving")).is_empty(), "marks are removed");
    assert!(files(&base.path().join("tmp")).is_empty(), "temporary files are removed");
}

#[test]
fn any_range_of_the_content_can_be_read() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(2, 8_000_000);
    let entry = save(&store, "noise", &bytes).entry;
    for (at, size) in [(0, 0), (0, 1), (3_999_999, 2), (1_000_000, 6_000_000), (7_999_999, 1), (0, 8_000_000)]
    {
        let read = store.read(&entry, ContentRange { at, size }).unwrap();
        let (from, to) = (usize::try_from(at).unwrap(), usize::try_from(at + size).unwrap());
        assert!(read == bytes[from..to], "{size} bytes at {at}");
    }
}

#[test]
fn equal_content_is_stored_once() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(3, 20_000_000);
    let first = save(&store, "first", &bytes).added_bytes;
    assert!(first >= 20_000_000);
    let mut changed = bytes.clone();
    changed.splice(10_000_000..10_000_000, [1, 2, 3]);
    assert!(save(&store, "second", &changed).added_bytes < first / 3);
    assert_eq!(save(&store, "third", &bytes).added_bytes, 0);
}

#[test]
fn chunks_of_an_earlier_entry_are_reused_without_reading_them() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(4, 6_000_000);
    let before = save(&store, "before", &bytes).entry;
    let kept = &before.manifest.chunks[1..];
    let skipped = before.chunk_offsets()[1];
    let mut save = store.save(EntryKind::Dir, "family", key("after")).unwrap();
    assert_eq!(save.reuse(kept).unwrap(), Some(0));
    assert_eq!(save.position(), 6_000_000 - skipped);
    save.write(b"and more").unwrap();
    let saved = save.commit(Subject::default(), ContentRange { at: 0, size: 0 }).unwrap();
    assert!(saved.added_bytes < 100);
    let mut expected = bytes[usize::try_from(skipped).unwrap()..].to_vec();
    expected.extend(b"and more");
    assert!(content(&store, &saved.entry).unwrap().0 == expected);
}

#[test]
fn missing_chunks_are_not_reused() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let before = save(&store, "before", &noise(5, 3_000_000)).entry;
    std::fs::remove_file(base.path().join(ChunkRef::path(&before.manifest.chunks[0].digest))).unwrap();
    let mut save = store.save(EntryKind::Dir, "family", key("after")).unwrap();
    assert_eq!(save.reuse(&before.manifest.chunks).unwrap(), None);
    assert_eq!(save.position(), 0);
}

#[test]
fn a_save_that_is_dropped_leaves_no_entry() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let mut save = store.save(EntryKind::Dir, "family", key("half")).unwrap();
    save.write(&noise(6, 9_000_000)).unwrap();
    drop(save);
    assert_eq!(find(&store, "half"), None);
    assert!(files(&base.path().join("saving")).is_empty());
    assert!(files(&base.path().join("chunks")).is_empty());
}

#[test]
fn an_entry_larger_than_the_limit_is_refused_and_evicts_nothing() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, StoreOptions { max_bytes: Some(5_000_000), ..terms("main") });
    save(&store, "small", &noise(7, 1_000_000));
    let mut save = store.save(EntryKind::Dir, "family", key("large")).unwrap();
    // The error may occur during a write or at the commit.
    let written = save.write(&noise(8, 6_000_000));
    let error =
        written.and_then(|()| save.commit(Subject::default(), ContentRange { at: 0, size: 0 })).unwrap_err();
    assert!(
        matches!(error, StoreError::TooLarge { bytes, limit: 5_000_000 } if bytes > 5_000_000),
        "{error}"
    );
    assert_eq!(find(&store, "large"), None);
    assert!(content(&store, &find(&store, "small").unwrap()).is_ok());
}

#[test]
fn a_reader_that_ends_early_is_not_reported_as_a_fault_of_the_store() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let mut save = store.save(EntryKind::Dir, "family", key("short")).unwrap();
    assert!(matches!(save.copy_from(&mut &b"abc"[..], 4), Err(CopyError::Reader(_))));
    assert!(matches!(save.copy_from(&mut &b"abc"[..], 3), Ok(())));
    assert_eq!(save.position(), 6);
}

#[test]
fn the_newest_version_of_a_key_is_found_and_older_ones_are_removed() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    for version in 0..5 {
        save(&store, "same", &[version; 10]);
        next_moment();
    }
    let entry = find(&store, "same").unwrap();
    assert_eq!(content(&store, &entry).unwrap().0, [4; 10]);
    assert_eq!(files(&base.path().join("entries")).len(), 1);
}
