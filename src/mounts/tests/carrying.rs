//! Tests of saving and restoring mounts: which files are restored, kept and left out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::archive::{ShrinkReason, pip_response_path, pip_wheel_directory};
use crate::courier::mount::list::records_access_times;

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn fill(mount: &Path) {
    fs::create_dir_all(mount.join("http-v2/a/b")).unwrap();
    fs::write(mount.join("http-v2/a/b/one"), "header").unwrap();
    fs::write(mount.join("http-v2/a/b/one.body"), noise(1, 700_000)).unwrap();
    fs::write(mount.join("http-v2/two"), noise(2, 3000)).unwrap();
    fs::write(mount.join("empty"), "").unwrap();
    fs::set_permissions(mount.join("http-v2/two"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/root/.cache/uv/archive", mount.join("link")).unwrap();
    fs::hard_link(mount.join("http-v2/two"), mount.join("zwei")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    fs::File::open(mount.join("http-v2/two")).unwrap().set_modified(old).unwrap();
}

/// Creates a cache of pip: two responses, the first with its body, and a wheel.
fn fill_pip(mount: &Path) {
    for (path, content) in [
        (pip_response_path(1), b"header".to_vec()),
        (pip_response_path(1) + ".body", noise(1, 700_000)),
        (pip_response_path(2), noise(2, 3000)),
        (pip_wheel_directory() + "/a.whl", noise(3, 3000)),
        (pip_wheel_directory() + "/origin.json", b"{}".to_vec()),
    ] {
        write(mount, &path, &content);
    }
}

fn write(mount: &Path, path: &str, content: &[u8]) {
    fs::create_dir_all(mount.join(path).parent().unwrap()).unwrap();
    fs::write(mount.join(path), content).unwrap();
}

/// Returns path, kind, mode, owner, time and content of everything in a directory.
fn content(mount: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for found in walkdir::WalkDir::new(mount).sort_by_file_name().min_depth(1) {
        let found = found.unwrap();
        let data = found.path().symlink_metadata().unwrap();
        let path = found.path().strip_prefix(mount).unwrap().display().to_string();
        let details = if data.is_file() {
            let digest = Digest::of(&fs::read(found.path()).unwrap());
            format!("{} {}.{} {digest}", data.len(), data.mtime(), data.mtime_nsec())
        } else if data.is_symlink() {
            fs::read_link(found.path()).unwrap().display().to_string()
        } else {
            "directory".to_owned()
        };
        all.push(format!(
            "{path} {:o} {}:{} {} {details}",
            data.mode(),
            data.uid(),
            data.gid(),
            data.nlink()
        ));
    }
    all
}

/// Reads a file, as a build does.
fn use_file(mount: &Path, path: &str) {
    assert!(!fs::read(mount.join(path)).unwrap().is_empty());
}

#[test]
fn a_mount_is_restored_by_sending_only_missing_or_different_files() {
    let bench = TestStore::new();
    let (from, to) = (bench.mount("from"), bench.mount("to"));
    fill(&from);
    let entry = entry(bench.save(&from, None, &terms()));
    assert_eq!((entry.manifest.subject.files, entry.manifest.subject.bytes), (6, 703_006));
    let restored = bench.restore(&to, &entry);
    assert_eq!((restored.sent_files, restored.sent_bytes), (6, 703_006));
    assert_eq!(restored.notes.first, Vec::<String>::new());
    assert_eq!(content(&to), content(&from));

    let again = bench.restore(&to, &entry);
    assert_eq!((again.sent_files, again.sent_bytes), (0, 0));
    fs::write(to.join("empty"), "no longer").unwrap();
    fs::remove_file(to.join("http-v2/a/b/one.body")).unwrap();
    fs::write(to.join("of another build"), "stays").unwrap();
    let repaired = bench.restore(&to, &entry);
    assert_eq!((repaired.sent_files, repaired.sent_bytes), (2, 700_000));
    assert_eq!(fs::read(to.join("of another build")).unwrap(), b"stays");
    fs::remove_file(to.join("of another build")).unwrap();
    assert_eq!(content(&to), content(&from));
}

#[test]
fn files_of_the_earlier_entry_are_not_read_again() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    fill(&mount);
    let first = entry(bench.save(&mount, None, &terms()));
    let same = bench.save(&mount, Some(&first), &terms());
    assert!(matches!(same.outcome, SaveOutcome::Unchanged), "{:?}", same.outcome);
    fs::write(mount.join("three"), noise(3, 400_000)).unwrap();
    // The content is changed without its time, so that reading it again would be noticed.
    let body = mount.join("http-v2/a/b/one.body");
    let time = fs::metadata(&body).unwrap().modified().unwrap();
    fs::write(&body, noise(4, 700_000)).unwrap();
    fs::File::open(&body).unwrap().set_modified(time).unwrap();
    let saved = bench.save(&mount, Some(&first), &terms());
    assert_eq!(saved.added, Tally { files: 1, bytes: 400_000 });
    let second = entry(saved);
    assert_eq!(second.manifest.subject.files, 7);
    assert!(second.manifest.added_bytes < 420_000, "{}", second.manifest.added_bytes);
    let to = bench.mount("to");
    bench.restore(&to, &second);
    assert_eq!(fs::read(to.join("http-v2/a/b/one.body")).unwrap(), noise(1, 700_000));
    assert_eq!(fs::read(to.join("three")).unwrap(), noise(3, 400_000));
}

#[test]
fn files_that_builds_no_longer_read_are_left_out_by_unit() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    fill_pip(&mount);
    if !records_access_times(&bench.mount("probe")) {
        // Without access times, no file counts as unused.
        return;
    }
    let mut kept = entry(bench.save(&mount, None, &terms()));
    for build in 1..=3 {
        bench.restore(&mount, &kept);
        use_file(&mount, &pip_response_path(1));
        let saved = bench.save(&mount, Some(&kept), &terms());
        assert_eq!(saved.used, Tally { files: 1, bytes: 6 }, "build {build}");
        assert_eq!(saved.trimmed.files, if build == 3 { 3 } else { 0 }, "build {build}");
        kept = entry(saved);
        let idle = bench.save(&mount, Some(&kept), &terms());
        assert!(build == 3 || matches!(idle.outcome, SaveOutcome::Unchanged), "no build: {:?}", idle.outcome);
    }
    let to = bench.mount("to");
    bench.restore(&to, &kept);
    assert!(to.join(pip_response_path(1) + ".body").exists(), "it belongs to its header, which was read");
    assert!(!to.join(pip_response_path(2)).exists() && !to.join(pip_wheel_directory()).exists());
    assert!(mount.join(pip_response_path(2)).exists(), "nothing is removed from the builder");
}

#[test]
fn an_unused_file_is_kept_with_its_unit() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    fill(&mount);
    fs::create_dir_all(mount.join("lib@v1/a")).unwrap();
    fs::write(mount.join("lib@v1/a/a.go"), "package a").unwrap();
    let mut kept = entry(bench.save(&mount, None, &terms()));
    for build in 1..=7 {
        bench.restore(&mount, &kept);
        use_file(&mount, "lib@v1/a/a.go");
        fs::write(mount.join("new"), build.to_string()).unwrap();
        let saved = bench.save(&mount, Some(&kept), &terms());
        assert_eq!(saved.trimmed, Tally::default(), "build {build}");
        kept = entry(saved);
    }
    let to = bench.mount("to");
    bench.restore(&to, &kept);
    assert_eq!(content(&to), content(&mount));
}

#[test]
fn a_mount_that_is_too_large_loses_the_least_recently_used_units() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let [new, old, middle] = [1, 2, 3].map(pip_response_path);
    for (path, used) in [(&new, 3000), (&old, 1000), (&(old.clone() + ".body"), 1500), (&middle, 2000)] {
        write(&mount, path, &noise(used, 1000));
        let times = fs::FileTimes::new().set_accessed(at(used)).set_modified(at(500));
        fs::File::open(mount.join(path)).unwrap().set_times(times).unwrap();
    }
    let saved = bench.save(&mount, None, &SaveTerms { max_size: Some(2500), ..terms() });
    assert_eq!(saved.trimmed, Tally { files: 2, bytes: 2000 });
    let to = bench.mount("to");
    bench.restore(&to, &entry(saved));
    assert!(to.join(&new).exists() && to.join(&middle).exists() && !to.join(&old).exists());
}

#[test]
fn a_single_unit_that_is_too_large_is_replaced_by_an_empty_entry() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    fs::write(mount.join("index"), "a").unwrap();
    let limited = SaveTerms { max_size: Some(2), ..terms() };
    let first = entry(bench.save(&mount, None, &limited));
    fs::write(mount.join("object"), "bb").unwrap();
    let outgrown = |before| {
        let saved = bench.save(&mount, before, &limited);
        assert_eq!(saved.trimmed, Tally { files: 2, bytes: 3 });
        let SaveOutcome::TooLarge { saved, bytes: 3 } = saved.outcome else { panic!("{:?}", saved.outcome) };
        saved
    };
    assert!(outgrown(None).is_none(), "there is nothing to replace");
    let empty = outgrown(Some(&first)).unwrap().entry;
    assert_eq!(empty.manifest.subject.files, 0);
    assert!(outgrown(Some(&empty)).is_none());
    let to = bench.mount("to");
    assert_eq!(bench.restore(&to, &empty).sent_files, 0);
    let still_empty = bench.save(&to, Some(&empty), &limited);
    assert!(matches!(still_empty.outcome, SaveOutcome::Empty), "{:?}", still_empty.outcome);
    fs::write(to.join("index"), "c").unwrap();
    entry(bench.save(&to, Some(&empty), &limited));
}

#[test]
fn an_entry_is_not_replaced_by_an_empty_or_far_smaller_one() {
    let bench = TestStore::new();
    let (full, empty) = (bench.mount("full"), bench.mount("empty"));
    fs::write(full.join("wheel"), noise(1, 2_000_000)).unwrap();
    let nothing = bench.save(&empty, None, &terms());
    assert!(matches!(nothing.outcome, SaveOutcome::Empty), "{:?}", nothing.outcome);
    let kept = entry(bench.save(&full, None, &terms()));
    let refused = bench.save(&empty, Some(&kept), &terms());
    assert!(matches!(refused.outcome, SaveOutcome::Refused(ShrinkReason::Empty)), "{:?}", refused.outcome);
    fs::write(empty.join("little"), "x").unwrap();
    let refused = bench.save(&empty, Some(&kept), &terms());
    let expected = ShrinkReason::Smaller { now: 1, before: 2_000_000 };
    assert!(matches!(refused.outcome, SaveOutcome::Refused(it) if it == expected), "{:?}", refused.outcome);
    // This also applies if the remaining files exceed the limit.
    let trimming = SaveTerms { max_size: Some(2), ..terms() };
    fs::write(empty.join("more"), "yy").unwrap();
    let refused = bench.save(&empty, Some(&kept), &trimming);
    assert!(
        matches!(refused.outcome, SaveOutcome::Refused(ShrinkReason::Smaller { now: 3, .. })),
        "{:?}",
        refused.outcome
    );
    entry(bench.save(&empty, Some(&kept), &SaveTerms { allow_shrink: true, ..terms() }));
}

#[test]
fn a_link_in_a_path_is_not_followed() {
    let bench = TestStore::new();
    let (from, to, outside) = (bench.mount("from"), bench.mount("to"), bench.mount("outside"));
    fs::create_dir(from.join("d")).unwrap();
    fs::write(from.join("d/file"), "content").unwrap();
    let entry = entry(bench.save(&from, None, &terms()));
    symlink(&outside, to.join("d")).unwrap();
    let refused = bench.try_restore(&to, &entry).unwrap_err().to_string();
    assert_eq!(refused, "d: something other than a directory exists at this path; nothing was restored");
    assert_eq!(content(&outside), Vec::<String>::new());
}

#[test]
fn packages_are_counted_among_the_files_that_a_build_used_and_added() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    let wheel = |number: u64, size| [b"PK\x03\x04".as_slice(), &noise(number, size)].concat();
    fs::write(mount.join("page"), noise(1, 5000)).unwrap();
    fs::write(mount.join("small.body"), wheel(2, 5000)).unwrap();
    fs::write(mount.join("large.body"), wheel(3, 900_000)).unwrap();
    let saved = bench.save(&mount, None, &terms());
    assert_eq!(
        (saved.packages_added, saved.packages_used),
        (Tally { files: 2, bytes: 905_008 }, Tally::default())
    );
    let first = entry(saved);
    if !records_access_times(&bench.mount("probe")) {
        return;
    }
    bench.restore(&mount, &first);
    use_file(&mount, "large.body");
    use_file(&mount, "page");
    fs::write(mount.join("new.body"), wheel(4, 7000)).unwrap();
    let saved = bench.save(&mount, Some(&first), &terms());
    assert_eq!(saved.packages_used, Tally { files: 1, bytes: 900_004 });
    assert_eq!(saved.packages_added, Tally { files: 1, bytes: 7004 });
    let second = entry(saved);
    let to = bench.mount("to");
    bench.restore(&to, &second);
    use_file(&to, "new.body");
    assert_eq!(bench.save(&to, Some(&second), &terms()).packages_used, Tally { files: 1, bytes: 7004 });
}

#[test]
fn an_incomplete_restore_changes_nothing() {
    let bench = TestStore::new();
    let (from, to) = (bench.mount("from"), bench.mount("to"));
    fill(&from);
    let entry = entry(bench.save(&from, None, &terms()));
    fs::write(to.join("of another build"), "stays").unwrap();
    let before = content(&to);
    let listing = crate::archive::read_listing(&bench.store, &entry, true).unwrap();

    // The connection breaks before the last message.
    with_courier(&to, |mut talk| {
        talk.list().unwrap();
        for (number, node) in (0..).zip(&listing.nodes) {
            talk.request_node(number, node).unwrap();
            if let crate::archive::NodeKind::File(file) = &node.kind
                && file.size > 0
            {
                talk.send_piece(number, 0, &noise(1, usize::try_from(file.size).unwrap())).unwrap();
            }
        }
    });
    assert_eq!(content(&to), before);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1, "no staging directory remains");

    // A directory is in the place of one of many files.
    fs::create_dir_all(to.join("http-v2/two")).unwrap();
    let before = content(&to);
    let refused = bench.try_restore(&to, &entry).unwrap_err().to_string();
    assert_eq!(refused, "http-v2/two: a directory exists at this path; nothing was restored");
    assert_eq!(content(&to), before);
}

#[test]
fn abandoned_staging_directories_are_removed_and_those_in_use_are_kept() {
    let bench = TestStore::new();
    let mount = bench.mount("mount");
    for name in ["killed", "living"] {
        fs::create_dir_all(mount.join(format!(".larder-restore-{name}/tree"))).unwrap();
    }
    let living = fs::File::open(mount.join(".larder-restore-living")).unwrap();
    living.lock().unwrap();
    with_courier(&mount, |mut talk| talk.list().unwrap());
    assert!(!mount.join(".larder-restore-killed").exists());
    assert!(mount.join(".larder-restore-living").exists());
}
