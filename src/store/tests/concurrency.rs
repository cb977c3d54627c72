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
