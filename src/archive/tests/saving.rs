//! Tests of which files a save reads, reuses, leaves out and refuses.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

/// Adds all files of a walk to the index, as if they had been saved long after their last change.
fn trust_all_stamps(bench: &TestDirectories, base: &mut BaseEntry) {
    for found in bench.walk().found {
        if let Some(stamp) = found.stamp {
            base.index.insert(found.node.path, stamp);
        }
    }
}

#[test]
fn stamps_of_recently_written_files_are_not_trusted() {
    let bench = TestDirectories::new();
    bench.write("young", b"1");
    let saved = bench.save(None);
    assert!(saved.index.len() == 0, "a later write could leave the same stamp");
    // Restored files are trusted: their content is known, and their modification times are old.
    age(&bench.path("from"));
    let entry = bench.save(None).saved.entry;
    let restored = bench.restore(&entry).unwrap();
    assert_eq!(restored.index.as_ref().map(DirectoryIndex::len), Some(1));
    let again = restore(
        &bench.store,
        &entry,
        &bench.path("to"),
        RestoreOptions { index: restored.index.as_ref(), outside_links: false },
        &Meter::default(),
    );
    assert_eq!(again.unwrap().index, restored.index);
}

#[test]
fn unchanged_files_are_not_read_and_their_chunks_are_reused() {
    let bench = TestDirectories::new();
    for number in 0..40 {
        bench.write(&format!("small/{number}"), &noise(number, 60_000));
    }
    for number in 0..4 {
        bench.write(&format!("large/{number}"), &noise(100 + number, 2_000_000));
    }
    age(&bench.path("from"));
    let first = bench.save(None);
    assert_eq!((first.read_files, first.known_files), (44, 0));
    let mut base = bench.base(&first);
    trust_all_stamps(&bench, &mut base);
    assert!(base.has_same_content(&bench.walk()), "nothing has changed");

    bench.write("large/2", &noise(7, 2_000_000));
    bench.write("new", b"new");
    fs::remove_file(bench.path("from/small/3")).unwrap();
    assert!(!base.has_same_content(&bench.walk()));
    // The other files are removed during the save, so that reading them would fail.
    let walked = bench.walk();
    for path in ["large/0", "large/3", "small/7"] {
        fs::rename(bench.path("from").join(path), bench.path("aside").with_extension(path.replace('/', "-")))
            .unwrap();
    }
    let destination = DirectoryDestination {
        family: "from",
        key: Digest::of(b"key"),
        subject: Subject::default(),
        replaces: None,
    };
    let second =
        save(&bench.store, &bench.open("from"), walked, Some(&base), destination, &Meter::default()).unwrap();
    assert_eq!(second.left_out, []);
    assert_eq!(second.known_files, 42);
    assert_eq!(second.read_files, 2);
    assert!(second.saved.added_bytes < 2_100_000, "{}", second.saved.added_bytes);
    for path in ["large/0", "large/3", "small/7"] {
        fs::rename(bench.path("aside").with_extension(path.replace('/', "-")), bench.path("from").join(path))
            .unwrap();
    }
    bench.restore(&second.saved.entry).unwrap();
    for (node, content) in tree(&bench.path("from")) {
        if let NodeKind::File(_) = node.kind {
            assert_eq!(fs::read(bench.path("to").join(&node.path)).unwrap(), content, "{:?}", node.path);
        }
    }
}

#[test]
fn a_restore_that_changes_little_keeps_the_larger_index() {
    let bench = TestDirectories::new();
    for path in ["a", "b", "c"] {
        bench.write(path, path.as_bytes());
    }
    age(&bench.path("from"));
    let first = bench.save(None);
    bench.write("b", b"another");
    age(&bench.path("from"));
    let second = bench.save(None).saved.entry;
    let into = bench.path("from");
    bench.write("b", b"mine");
    let mut base = bench.base(&first);
    trust_all_stamps(&bench, &mut base);
    let options = RestoreOptions { index: Some(&base.index), outside_links: false };
    let restored = restore(&bench.store, &second, &into, options, &Meter::default()).unwrap();
    assert_eq!((restored.written_files, restored.files), (1, 3));
    // `a` and `c` have the stamps of the first entry's index.
    assert_eq!(restored.index, None);
    let fresh = restore(&bench.store, &second, &bench.path("to"), options, &Meter::default()).unwrap();
    assert_eq!(fresh.index.map(|index| (index.entry, index.len())), Some((second.id, 3)));
}

#[test]
fn a_file_that_vanishes_is_left_out_with_its_unit() {
    let bench = TestDirectories::new();
    let (gone, here) = (pip_response_path(1), pip_response_path(2));
    let save = || {
        let walked = bench.walk();
        fs::remove_file(bench.path("from").join(&gone)).unwrap();
        let destination = DirectoryDestination {
            family: "from",
            key: Digest::of(b"key"),
            subject: Subject::default(),
            replaces: None,
        };
        save(&bench.store, &bench.open("from"), walked, None, destination, &Meter::default())
    };
    bench.write(&gone, b"gone");
    bench.write(&(gone.clone() + ".body"), b"gone");
    bench.write(&here, b"here");
    let saved = save().unwrap();
    assert_eq!(saved.left_out, [LeftOutPath { path: gone.clone().into(), reason: LeftOutReason::Vanished }]);
    let listing = read_listing(&bench.store, &saved.saved.entry, true).unwrap();
    assert_eq!(listing.counts(), (1, 4));
    assert!(listing.find(here.as_ref()).is_some());

    bench.write(&gone, b"gone");
    bench.write("of another program", b"x");
    assert_eq!(save().unwrap_err().to_string(), format!("{gone} was removed during the save"));
}

#[test]
fn files_are_read_again_if_chunks_of_the_earlier_entry_are_missing() {
    let bench = TestDirectories::new();
    bench.write("large", &noise(1, 2_000_000));
    let first = bench.save(None);
    let mut base = bench.base(&first);
    trust_all_stamps(&bench, &mut base);
    fs::remove_dir_all(bench.path("store/chunks")).unwrap();
    let second = bench.save(Some(&base));
    assert_eq!(second.read_files, 1);
    bench.restore(&second.saved.entry).unwrap();
    assert_eq!(tree(&bench.path("to")), tree(&bench.path("from")));
}

#[test]
fn unchanged_files_keep_their_inode_in_a_restore() {
    let bench = TestDirectories::new();
    bench.write("same", b"same");
    bench.write("edited", b"edited");
    age(&bench.path("from"));
    let entry = bench.save(None).saved.entry;
    bench.restore(&entry).unwrap();
    let inode = |path: &str| fs::metadata(bench.path("to").join(path)).unwrap().ino();
    let (same, edited) = (inode("same"), inode("edited"));
    fs::write(bench.path("to/edited"), "mine").unwrap();
    let again = bench.restore(&entry).unwrap();
    assert_eq!((again.written_files, again.files), (1, 2));
    assert_eq!(inode("same"), same);
    assert_ne!(inode("edited"), edited);
    assert_eq!(fs::read(bench.path("to/edited")).unwrap(), b"edited");
}

#[test]
fn saving_does_not_update_access_times_and_restoring_sets_them() {
    let bench = TestDirectories::new();
    bench.write("file", &noise(1, 300_000));
    let used = filetime::FileTime::from_unix_time(1_600_000_000, 0);
    let modified = filetime::FileTime::from_unix_time(1_500_000_000, 0);
    filetime::set_file_times(bench.path("from/file"), used, modified).unwrap();
    let entry = bench.save(None).saved.entry;
    bench.restore(&entry).unwrap();
    for root in ["from", "to"] {
        let metadata = fs::metadata(bench.path(root).join("file")).unwrap();
        assert_eq!(metadata.atime(), 1_600_000_000, "{root}");
    }
}

#[test]
fn a_file_that_keeps_changing_is_left_out_and_reported() {
    let bench = TestDirectories::new();
    let (still, moving) = (pip_response_path(1), pip_response_path(2));
    bench.write(&still, b"still");
    bench.write(&moving, &noise(1, 8_000_000));
    let path = bench.path("from").join(&moving);
    let done = std::sync::atomic::AtomicBool::new(false);
    let started = std::sync::Barrier::new(2);
    let saved = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&path).unwrap();
            started.wait();
            let mut length = 8_000_000;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // The size changes each time, so that the resolution of time stamps does not matter.
                length = if length == 8_000_000 { 7_999_000 } else { length + 1 };
                file.set_len(length).unwrap();
                std::thread::yield_now();
            }
        });
        started.wait();
        // On a busy machine, this thread must not read the whole file while the other one waits for a processor.
        rustix::process::setpriority_process(None, 19).unwrap();
        let saved = bench.save(None);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        saved
    });
    assert_eq!(
        saved.left_out,
        [LeftOutPath { path: moving.clone().into(), reason: LeftOutReason::Changing }]
    );
    bench.restore(&saved.saved.entry).unwrap();
    assert!(bench.path("to").join(still).exists() && !bench.path("to").join(moving).exists());
}

#[test]
fn an_entry_is_not_replaced_by_an_empty_one() {
    let bench = TestDirectories::new();
    assert_eq!(check_shrink(None, None), Some(ShrinkReason::Missing));
    fs::create_dir_all(bench.path("from/only/directories")).unwrap();
    assert_eq!(check_shrink(Some(&bench.walk()), None), Some(ShrinkReason::Empty));
    bench.write("file", &[0; 999]);
    for (before, refused) in
        [(None, false), (Some(1 << 20), false), (Some((1 << 20) + 1), true), (Some(u64::MAX), true)]
    {
        assert_eq!(check_shrink(Some(&bench.walk()), before).is_some(), refused, "{before:?}");
    }
    bench.write("file", &vec![0; 110_000]);
    assert_eq!(check_shrink(Some(&bench.walk()), Some(1_100_000)), None);
    assert_eq!(
        check_shrink(Some(&bench.walk()), Some(1_100_010)),
        Some(ShrinkReason::Smaller { now: 110_000, before: 1_100_010 })
    );
}
