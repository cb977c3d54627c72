//! Tests of verification and repair.

use super::*;

fn verify(store: &Store, repair: bool) -> VerifyResult {
    store.verify(StoreLocation::Local, repair, &|_| {}).unwrap()
}

#[test]
fn verification_finds_all_damage_and_changes_nothing() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let broken = save(&store, "broken", &noise(61, 3_000_000)).entry;
    save(&store, "whole", &noise(62, 3_000_000));
    let verified = verify(&store, false);
    assert_eq!((verified.complete_entries, verified.broken_entries.len(), verified.faults.len()), (2, 0, 0));
    assert!(verified.bytes > 6_000_000);
    let path = base.path().join(ChunkRef::path(&broken.manifest.chunks[0].digest));
    std::fs::write(&path, "damage").unwrap();
    for _ in 0..2 {
        let verified = verify(&store, false);
        assert_eq!(
            (verified.complete_entries, verified.broken_entries.len(), verified.faults.len()),
            (1, 1, 1)
        );
        assert_eq!(verified.broken_entries[0].id, broken.id);
        assert!(path.exists() && find(&store, "broken").is_some());
    }
}

#[test]
fn a_repair_copies_chunks_from_the_remote_and_sets_incomplete_entries_aside() {
    let (base, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shared = open(base.path(), Some(remote.path()), terms("main"));
    let alone = open(base.path(), None, terms("main"));
    let healed = save(&shared, "healed", &noise(63, 3_000_000)).entry;
    let lost = save(&alone, "lost", &noise(64, 3_000_000)).entry;
    for entry in [&healed, &lost] {
        std::fs::write(base.path().join(ChunkRef::path(&entry.manifest.chunks[0].digest)), "damage").unwrap();
    }
    let verified = verify(&shared, true);
    assert_eq!(
        (verified.complete_entries, verified.broken_entries.len(), verified.repaired_chunks),
        (1, 1, 1),
        "{:?}",
        verified.faults
    );
    assert!(content(&alone, &healed).is_ok());
    assert_eq!(find(&alone, "lost"), None);
    let verified = verify(&alone, false);
    assert_eq!((verified.complete_entries, verified.broken_entries.len(), verified.faults.len()), (1, 0, 0));
}

#[test]
fn entries_with_chunks_only_in_the_remote_are_complete() {
    let (here, there, remote) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    save(&open(there.path(), Some(remote.path()), terms("main")), "entry", &noise(65, 5_000_000));
    let store = open(here.path(), Some(remote.path()), terms("main"));
    let entry = find(&store, "entry").unwrap();
    store.load(&entry, &[0], &|_, _| Ok(())).unwrap();
    let verified = verify(&store, false);
    assert_eq!((verified.complete_entries, verified.broken_entries.len()), (1, 0));
}
