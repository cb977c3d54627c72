//! Tests of concurrent jobs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::*;

#[test]
fn concurrent_saves_of_the_same_content_succeed() {
    let base = tempfile::tempdir().unwrap();
    let bytes = noise(41, 6_000_000);
    let jobs: Vec<_> = (0..6)
        .map(|_| {
            let (store, bytes) = (open(base.path(), None, terms("main")), bytes.clone());
            thread::spawn(move || save(&store, "same", &bytes).entry)
        })
        .collect();
    let entries: Vec<Entry> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    let store = open(base.path(), None, terms("main"));
    assert!(entries.iter().any(|entry| content(&store, entry).is_ok_and(|(back, _)| back == bytes)));
    assert!(content(&store, &find(&store, "same").unwrap()).unwrap().0 == bytes);
}

/// Runs savers and sweepers at the same time on contents that are removed and saved again, so that sweepers condemn
/// chunks that savers are about to need.
#[test]
fn committed_entries_stay_complete_during_sweeps() {
    const ROUNDS: u64 = 12;
    let base = tempfile::tempdir().unwrap();
    let (saves, sweeps) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = || saves.load(Ordering::Relaxed).min(sweeps.load(Ordering::Relaxed)) >= 4 * ROUNDS;
    let job = |number: u64| {
        let store = open(base.path(), None, terms("main"));
        for round in 0.. {
            if is_over() {
                break;
            }
            // With three contents only, each one is soon evicted by a different job.
            let bytes = noise(round % 3, 700_000);
            let name = format!("{number}-{round}");
            let entry = save(&store, &name, &bytes).entry;
            let (back, faults) = content(&store, &entry).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(back == bytes && faults.is_empty(), "{name}: {faults:?}");
            store
                .evict(StoreLocation::Local, EvictionSelection::Ids(&[entry.id]), false, Timestamp::now())
                .unwrap();
            saves.fetch_add(1, Ordering::Relaxed);
        }
    };
    let sweeper = || {
        let store = open(base.path(), None, terms("main"));
        while !is_over() {
            let beyond = EvictionSelection::OverLimits(StoreLimits::default());
            store.evict(StoreLocation::Local, beyond, false, Timestamp::now()).unwrap();
            sweeps.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for number in 0..4 {
            let job = &job;
            scope.spawn(move || job(number));
        }
        for _ in 0..2 {
            scope.spawn(sweeper);
        }
    });
}
