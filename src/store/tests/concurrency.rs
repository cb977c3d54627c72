//! Many jobs at once.

use std::thread;

use super::*;

#[test]
fn jobs_that_save_the_same_at_once_all_succeed() {
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

/// Savers and sweepers at once, with contents that come, go and come again, so that sweepers keep
/// condemning what savers are about to need.
#[test]
fn what_was_acknowledged_stays_whole_beside_sweeps() {
    let base = tempfile::tempdir().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(4);
    let job = |number: u64| {
        let store = open(base.path(), None, terms("main"));
        move || {
            let mut saved = 0;
            for round in 0.. {
                if std::time::Instant::now() > end {
                    break;
                }
                // Three contents only: each is some other job's victim before long.
                let bytes = noise(round % 3, 700_000);
                let name = format!("{number}-{round}");
                let entry = save(&store, &name, &bytes).entry;
                let (back, faults) =
                    content(&store, &entry).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(back == bytes && faults.is_empty(), "{name}: {faults:?}");
                store.evict(Place::Local, Victims::Ids(&[entry.id]), false, Timestamp::now()).unwrap();
                saved += 1;
            }
            saved
        }
    };
    let sweeper = || {
        let store = open(base.path(), None, terms("main"));
        let limits = Limits { max_bytes: Some(u64::MAX), ..Limits::default() };
        let mut sweeps = 0;
        while std::time::Instant::now() < end {
            store.evict(Place::Local, Victims::Beyond(limits), false, Timestamp::now()).unwrap();
            sweeps += 1;
        }
        sweeps
    };
    let (saved, sweeps): (u64, u64) = thread::scope(|scope| {
        let savers: Vec<_> = (0..4).map(|number| scope.spawn(job(number))).collect();
        let sweepers: Vec<_> = (0..2).map(|_| scope.spawn(sweeper)).collect();
        let saved = savers.into_iter().map(|saver| saver.join().unwrap()).sum();
        (saved, sweepers.into_iter().map(|sweeper| sweeper.join().unwrap()).sum())
    });
    assert!(saved > 8 && sweeps > 8, "{saved} saves beside {sweeps} sweeps prove nothing");
}
