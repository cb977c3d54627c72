//! Tests of which entries a job sees, and which signatures it accepts.

use super::*;
use crate::store::backend::FaultReason;

#[test]
fn a_job_reads_its_own_lane_then_the_trunk_and_writes_only_its_own() {
    let base = tempfile::tempdir().unwrap();
    let (trunk, ours, other) = (
        open(base.path(), None, terms("main")),
        open(base.path(), None, terms("pr-1")),
        open(base.path(), None, terms("pr-2")),
    );
    save(&trunk, "shared", b"trunk's");
    save(&other, "secret", b"other");
    assert_eq!(content(&ours, &find(&ours, "shared").unwrap()).unwrap().0, b"trunk's");
    assert_eq!(find(&ours, "secret"), None, "entries of a different pull request are not found");
    save(&ours, "shared", b"ours");
    assert_eq!(content(&ours, &find(&ours, "shared").unwrap()).unwrap().0, b"ours");
    assert_eq!(content(&trunk, &find(&trunk, "shared").unwrap()).unwrap().0, b"trunk's");
    assert_eq!(content(&other, &find(&other, "shared").unwrap()).unwrap().0, b"trunk's");
}

#[test]
fn without_an_exact_entry_the_newest_of_the_family_is_found() {
    let base = tempfile::tempdir().unwrap();
    let (trunk, ours) = (open(base.path(), None, terms("main")), open(base.path(), None, terms("pr-1")));
    let fallback = |store: &Store| store.find(EntryKind::Dir, "family", key("new"), true);
    assert_eq!(fallback(&ours).entry, None);
    for name in ["old", "newer"] {
        save(&trunk, name, name.as_bytes());
        next_moment();
    }
    let found = fallback(&ours);
    assert_eq!((found.entry.unwrap().manifest.subject.title.as_str(), found.is_exact), ("newer", false));
    save(&ours, "own", b"own");
    assert_eq!(fallback(&ours).entry.unwrap().manifest.subject.title, "own");
    save(&trunk, "new", b"exact");
    let found = fallback(&ours);
    assert_eq!((found.entry.unwrap().manifest.subject.title.as_str(), found.is_exact), ("new", true));
    let other = ours.find(EntryKind::Dir, "other family", key("new"), true);
    assert_eq!(other.entry, None);
    let other = ours.find(EntryKind::Mount, "family", key("new"), true);
    assert_eq!(other.entry, None);
}

#[test]
fn an_unsigned_entry_is_a_counted_miss_for_jobs_that_require_signatures_or_sign() {
    use base64::Engine as _;
    let seed = |byte: u8| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let trust = |byte: u8, required| Trust::new(Some(&seed(byte)), &[], required).unwrap();
    let base = tempfile::tempdir().unwrap();
    let unsigned = open(base.path(), None, terms("main"));
    let strict = open(base.path(), None, StoreOptions { trust: trust(1, true), ..terms("main") });
    let signing = open(base.path(), None, StoreOptions { trust: trust(1, false), ..terms("main") });
    let stranger = open(base.path(), None, StoreOptions { trust: trust(2, false), ..terms("main") });
    save(&unsigned, "entry", b"anyone's");
    save(&stranger, "other", b"a stranger's");
    for store in [&strict, &signing] {
        for name in ["entry", "other"] {
            let found = store.find(EntryKind::Dir, "family", key(name), false);
            assert_eq!(found.entry, None);
            let reasons: Vec<_> = found.faults.iter().map(StoreError::reason).collect();
            assert_eq!(reasons, [FaultReason::Unsigned]);
        }
        let other = store.find(EntryKind::Dir, "family", key("new"), true);
        assert_eq!(other.entry, None, "an unsigned entry does not substitute for the missing one either");
    }
    save(&signing, "entry", b"ours");
    next_moment();
    save(&unsigned, "entry", b"anyone's again");
    assert_eq!(content(&strict, &find(&strict, "entry").unwrap()).unwrap().0, b"ours");
    unsigned
        .evict(
            StoreLocation::Local,
            EvictionSelection::OverLimits(StoreLimits::default()),
            false,
            Timestamp::now(),
        )
        .unwrap();
    assert_eq!(
        content(&strict, &find(&strict, "entry").unwrap()).unwrap().0,
        b"ours",
        "an eviction keeps the signed entry"
    );
    assert!(find(&unsigned, "entry").is_some(), "jobs that require no signatures also use signed entries");
}

#[test]
fn nothing_changes_a_read_only_store() {
    let base = tempfile::tempdir().unwrap();
    let writer = open(base.path(), None, terms("main"));
    let entry = save(&writer, "entry", &noise(21, 2_000_000)).entry;
    std::fs::write(base.path().join(ChunkRef::path(&entry.manifest.chunks[0].digest)), "damage").unwrap();
    let before: Vec<_> =
        files(base.path()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    let reader = open(base.path(), None, StoreOptions { read_only: true, ..terms("main") });
    assert!(matches!(reader.save(EntryKind::Dir, "family", key("x")), Err(StoreError::ReadOnly)));
    let entry = find(&reader, "entry").unwrap();
    reader.touch(&entry).unwrap();
    assert_eq!(content(&reader, &entry).unwrap_err().reason(), FaultReason::Damaged);
    let after: Vec<_> =
        files(base.path()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    assert!(before == after);
}
