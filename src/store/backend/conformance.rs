//! A test suite for all backends.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "it is called by tests, which fail by panicking"
)]

use std::sync::Arc;
use std::thread;

use super::{Backend, BackendObject};

/// Runs the suite on an empty backend. `again` is a second handle on the same place, like that of a different job.
pub fn check(backend: &Arc<dyn Backend>, again: &dyn Backend) {
    written_objects_can_be_read(backend.as_ref(), again);
    listings_are_complete(backend.as_ref(), again);
    set_aside_moves_objects_to_damaged(backend.as_ref(), again);
    marks_are_visible_until_they_are_dropped(backend.as_ref(), again);
    concurrent_writes_of_an_object_do_not_mix(backend, again);
    backend.remove_stale_temporaries().unwrap();
}

/// Checks that a listing of more than a thousand objects, which most services split into pages, is complete. The
/// objects stay there.
pub fn check_long_listing(backend: &dyn Backend) {
    let objects: Vec<BackendObject> = (0..1100)
        .map(|number| BackendObject { path: format!("long/{}/{number}", number % 7), size: 1 })
        .collect();
    thread::scope(|scope| {
        for part in objects.chunks(objects.len().div_ceil(backend.parallelism())) {
            scope.spawn(|| part.iter().for_each(|object| backend.write(&object.path, b"x").unwrap()));
        }
    });
    let mut listed = backend.list("long").unwrap();
    listed.sort();
    let mut expected = objects;
    expected.sort();
    assert_eq!(listed, expected);
}

fn written_objects_can_be_read(backend: &dyn Backend, again: &dyn Backend) {
    assert_eq!(backend.read("a/none", 10).unwrap(), None);
    assert_eq!(backend.size("a/none").unwrap(), None);
    backend.remove("a/none").unwrap();
    let large = vec![0; 3_000_000];
    for content in [&b""[..], b"one", &large] {
        backend.write("a/b-c_~2f.json", content).unwrap();
        backend.sync("a").unwrap();
        assert_eq!(again.size("a/b-c_~2f.json").unwrap(), Some(content.len() as u64));
        assert_eq!(again.read("a/b-c_~2f.json", 3_000_000).unwrap().as_deref(), Some(content));
    }
    assert!(again.read("a/b-c_~2f.json", 2_999_999).is_err(), "an object above the limit is not read");
    backend.remove("a/b-c_~2f.json").unwrap();
    assert_eq!(again.read("a/b-c_~2f.json", 10).unwrap(), None);
}

fn listings_are_complete(backend: &dyn Backend, again: &dyn Backend) {
    assert_eq!(backend.list("l").unwrap(), []);
    let mut expected = Vec::new();
    for number in 0..25_u64 {
        let path = format!("l/{:02x}/{number}", number % 3);
        backend.write(&path, &vec![1; usize::try_from(number).unwrap()]).unwrap();
        expected.push(BackendObject { path, size: number });
    }
    backend.write("lx/no", b"different prefix").unwrap();
    expected.sort();
    let mut listed = again.list("l").unwrap();
    listed.sort();
    assert_eq!(listed, expected);
    assert_eq!(again.list("l/01").unwrap().len(), 8);
}

fn set_aside_moves_objects_to_damaged(backend: &dyn Backend, again: &dyn Backend) {
    backend.write("q/bad", b"bad").unwrap();
    backend.set_aside("q/bad").unwrap();
    assert_eq!(again.read("q/bad", 10).unwrap(), None);
    let aside = again.list("damaged").unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!(again.read(&aside[0].path, 10).unwrap().as_deref(), Some(&b"bad"[..]));
    backend.set_aside("q/none").unwrap();
    backend.write("q/bad", b"worse").unwrap();
    backend.set_aside("q/bad").unwrap();
    assert!(again.size("q/bad").unwrap().is_none(), "an object can be set aside twice");
}

fn marks_are_visible_until_they_are_dropped(backend: &dyn Backend, again: &dyn Backend) {
    assert_eq!(backend.marks("m").unwrap(), Vec::<String>::new());
    let first = backend.mark("m", "first\n").unwrap();
    let second = again.mark("m", "").unwrap();
    first.add("more\n").unwrap();
    first.add("and more\n").unwrap();
    let mut texts = again.marks("m").unwrap();
    texts.sort();
    assert_eq!(texts, ["", "first\nmore\nand more\n"]);
    for number in 0..12 {
        first.add(&format!("{number} ")).unwrap();
    }
    let texts = backend.marks("m").unwrap();
    assert!(texts.contains(&"first\nmore\nand more\n0 1 2 3 4 5 6 7 8 9 10 11 ".to_owned()), "{texts:?}");
    drop(first);
    assert_eq!(again.marks("m").unwrap(), [""]);
    drop(second);
    assert_eq!(backend.marks("m").unwrap(), Vec::<String>::new());
}

fn concurrent_writes_of_an_object_do_not_mix(backend: &Arc<dyn Backend>, again: &dyn Backend) {
    let writers: Vec<_> = (0..8_u8)
        .map(|writer| {
            let backend = Arc::clone(backend);
            thread::spawn(move || backend.write("w/same", &vec![writer; 100_000]))
        })
        .collect();
    for writer in writers {
        writer.join().unwrap().unwrap();
    }
    let content = again.read("w/same", 100_000).unwrap().unwrap();
    assert_eq!(content.len(), 100_000);
    assert!(content.iter().all(|byte| *byte == content[0]), "writes do not mix");
}
