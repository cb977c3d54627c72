//! Tests of which entries are evicted and kept, and how many bytes an eviction frees.

use super::*;
use crate::store::manifest::SCHEMA;

fn limits(max_bytes: u64) -> StoreLimits {
    StoreLimits { max_bytes: Some(max_bytes), ..StoreLimits::default() }
}

/// Returns the bytes of all chunk files.
fn on_disk(base: &Path) -> u64 {
    files(&base.join("chunks")).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn ids(swept: &SweepReport) -> Vec<String> {
    swept.evicted.iter().map(|evicted| evicted.entry.manifest.subject.title.clone()).collect()
}

#[test]
fn the_least_recently_used_entries_are_evicted_with_their_bytes() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    for name in ["a", "b", "c"] {
        save(&store, name, &noise(u64::from(name.as_bytes()[0]), 2_000_000));
        next_moment();
    }
    store.touch(&find(&store, "a").unwrap()).unwrap();
    let plan = store
        .evict(StoreLocation::Local, EvictionSelection::OverLimits(limits(4_500_000)), true, Timestamp::now())
        .unwrap();
    assert_eq!(ids(&plan), ["b"]);
    assert!(on_disk(base.path()) > 6_000_000 && find(&store, "b").is_some(), "a dry run changes nothing");
    let swept = store
        .evict(
            StoreLocation::Local,
            EvictionSelection::OverLimits(limits(4_500_000)),
            false,
            Timestamp::now(),
        )
        .unwrap();
    assert_eq!((ids(&swept), swept.freed_bytes), (ids(&plan), plan.freed_bytes));
    assert_eq!(on_disk(base.path()), swept.kept_bytes);
    assert!(swept.kept_bytes < 4_500_000 && find(&store, "b").is_none());
    for name in ["a", "c"] {
        assert!(content(&store, &find(&store, name).unwrap()).is_ok(), "{name}");
    }
}

#[test]
fn shared_chunks_are_kept_until_the_last_entry_is_evicted() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(51, 3_000_000);
    let (first, second) = (save(&store, "first", &bytes).entry, save(&store, "second", &bytes).entry);
    let evict = |id| {
        store.evict(StoreLocation::Local, EvictionSelection::Ids(&[id]), false, Timestamp::now()).unwrap()
    };
    assert_eq!(evict(first.id).freed_bytes, 0);
    assert!(content(&store, &second).unwrap().0 == bytes);
    assert!(evict(second.id).freed_bytes >= 3_000_000);
    assert_eq!(on_disk(base.path()), 0);
}

#[test]
fn saves_within_the_limits_do_not_sweep() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    save(&store, "a", &noise(52, 2_000_000));
    let now = Timestamp::now();
    assert_eq!(
        store.enforce_limits(limits(100_000_000), StoreLimits::default(), now).0.len(),
        1,
        "the first save sweeps"
    );
    next_moment();
    save(&store, "b", &noise(53, 2_000_000));
    assert!(
        store.enforce_limits(limits(100_000_000), StoreLimits::default(), now).0.is_empty(),
        "a save far below the limit does not sweep"
    );
    let (swept, faults) = store.enforce_limits(limits(3_000_000), StoreLimits::default(), Timestamp::now());
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(ids(&swept[0]), ["a"]);
    assert!(on_disk(base.path()) < 3_000_000);
    let next_day = Timestamp::now() + jiff::SignedDuration::from_hours(25);
    assert_eq!(
        store.enforce_limits(limits(100_000_000), StoreLimits::default(), next_day).0.len(),
        1,
        "there is one sweep a day"
    );
}

#[test]
fn the_content_of_replaced_entries_counts_for_the_limit() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let largest = (0..12).map(|save_number| {
        next_moment();
        save(&store, "a", &noise(60 + save_number, 2_000_000));
        let stored = on_disk(base.path());
        let (_, faults) = store.enforce_limits(limits(8_000_000), StoreLimits::default(), Timestamp::now());
        assert!(faults.is_empty(), "{faults:?}");
        assert!(on_disk(base.path()) <= 8_000_000, "after save {save_number}");
        stored
    });
    assert!(largest.max().unwrap() > 4_000_000, "what was replaced stays until there is a reason to sweep");
}

#[test]
fn chunks_of_a_killed_save_are_swept() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    save(&store, "kept", b"kept");
    let mut half = store.save(EntryKind::Dir, "family", key("half")).unwrap();
    half.write(&noise(54, 9_000_000)).unwrap();
    half.boundary().unwrap();
    let sweep = || {
        store
            .evict(
                StoreLocation::Local,
                EvictionSelection::OverLimits(StoreLimits::default()),
                false,
                Timestamp::now(),
            )
            .unwrap()
    };
    sweep();
    let saved = half.commit(Subject::default(), ContentRange { at: 0, size: 0 }).unwrap();
    assert!(content(&store, &saved.entry).is_ok(), "a sweep spares the chunks of a running save");
    let left = noise(55, 100_000);
    let path = base.path().join(ChunkRef::path(&Digest::of(&left)));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &left).unwrap();
    sweep();
    assert!(!path.exists());
}

#[test]
fn an_entry_with_an_unknown_schema_keeps_its_chunks() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let entry = save(&store, "newer", &noise(56, 2_000_000)).entry;
    let path = base.path().join(&entry.path);
    let text = std::fs::read_to_string(&path).unwrap().replace(SCHEMA, "larder.entry.v9");
    let id = Digest::of(text.trim_end().as_bytes()).hex()[..32].to_owned();
    std::fs::write(
        path.with_file_name(format!("{}.20300101T000000.000Z.{id}.json", &key("newer").hex()[..32])),
        &text,
    )
    .unwrap();
    std::fs::remove_file(&path).unwrap();
    let found = store.find(EntryKind::Dir, "family", key("newer"), false);
    assert_eq!(found.faults[0].reason(), backend::FaultReason::Newer);
    store.evict(StoreLocation::Local, EvictionSelection::All, false, Timestamp::now()).unwrap();
    assert!(on_disk(base.path()) > 2_000_000);
}

#[test]
fn a_sweep_sets_aside_objects_that_are_not_chunks() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    save(&store, "kept", b"kept");
    std::fs::write(base.path().join("chunks/note.txt"), "mine").unwrap();
    store
        .evict(
            StoreLocation::Local,
            EvictionSelection::OverLimits(StoreLimits::default()),
            false,
            Timestamp::now(),
        )
        .unwrap();
    assert!(base.path().join("damaged/note.txt").exists());
    assert!(content(&store, &find(&store, "kept").unwrap()).is_ok());
}

#[test]
fn the_census_counts_shared_bytes_once() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let bytes = noise(57, 3_000_000);
    save(&store, "first", &bytes);
    save(&store, "second", &[bytes, b"more".repeat(100_000)].concat());
    let (census, faults) = store.census(StoreLocation::Local).unwrap();
    assert!(faults.is_empty());
    assert_eq!(census.bytes_stored, on_disk(base.path()));
    assert_eq!(census.bytes_logical, 3_000_000 + 3_400_000);
    assert_eq!(census.entries.len(), 2);
    assert!(census.entries.iter().all(|listed| listed.stored_bytes >= 3_000_000));
    assert!(census.entries.iter().map(|listed| listed.own_bytes).sum::<u64>() < 3_000_000);
    assert_eq!(census.bytes_unused, 0);
}

#[test]
fn evicting_an_entry_also_removes_its_older_versions() {
    let base = tempfile::tempdir().unwrap();
    let store = open(base.path(), None, terms("main"));
    let old = save(&store, "same", b"old").entry;
    let text = std::fs::read(base.path().join(&old.path)).unwrap();
    next_moment();
    let new = save(&store, "same", b"new").entry;
    // A job that was killed right after its save has not removed the old version.
    std::fs::write(base.path().join(&old.path), text).unwrap();
    let swept = store
        .evict(StoreLocation::Local, EvictionSelection::Ids(&[new.id]), false, Timestamp::now())
        .unwrap();
    assert_eq!(swept.evicted.len(), 2);
    assert_eq!(find(&store, "same"), None);
}
