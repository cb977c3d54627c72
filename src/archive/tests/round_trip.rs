//! Tests that a restore reproduces what was saved.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use filetime::FileTime;
use proptest::prelude::*;

use super::*;

fn xattr(path: &Path, name: &str, value: &[u8]) {
    xattr::set(path, name, value).unwrap();
}

#[test]
fn modes_times_owners_links_attributes_holes_and_odd_names_are_restored() {
    let bench = TestDirectories::new();
    bench.write("bin/run", b"#!");
    bench.write("bin/large", &noise(1, 3_000_000));
    bench.write("twin", &noise(1, 3_000_000));
    bench.write("new\nline", b"n");
    bench.write("a-b", b"sorts before a/");
    bench.write("a/b", b"");
    let from = bench.path("from");
    let odd = from.join(OsString::from_vec(b"\xff\\odd".to_vec()));
    fs::write(&odd, "odd").unwrap();
    fs::create_dir_all(from.join("empty/deep")).unwrap();
    fs::hard_link(from.join("bin/run"), from.join("bin/same")).unwrap();
    symlink("bin/run", from.join("link")).unwrap();
    symlink("nowhere", from.join("broken")).unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"head", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 20 << 20).unwrap();
    sparse.set_len(40 << 20).unwrap();
    fs::File::create(from.join("hole")).unwrap().set_len(5 << 20).unwrap();
    xattr(&from.join("bin/large"), "user.larder", b"\0value");
    xattr(&from.join("empty"), "user.larder", b"on a directory");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(from.join("link"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::lchown(from.join("twin"), Some(56), Some(78)).unwrap();
    }
    for (path, mode) in
        [("bin/run", 0o4755), ("twin", 0o2600), ("empty", 0o1777), ("a", 0o2750), ("new\nline", 0o400)]
    {
        fs::set_permissions(from.join(path), Permissions::from_mode(mode)).unwrap();
    }
    age(&from);
    let before = FileTime::from_unix_time(-77, 5);
    filetime::set_file_mtime(from.join("twin"), before).unwrap();

    let saved = bench.save(None);
    assert_eq!(saved.left_out, []);
    let restored = bench.restore(&saved.saved.entry).unwrap();
    assert_eq!(tree(&bench.path("to")), tree(&from));
    assert_eq!(restored.files, restored.written_files);
    let at = |path: &str| fs::metadata(bench.path("to").join(path)).unwrap();
    assert_eq!(at("bin/run").ino(), at("bin/same").ino());
    assert!(at("sparse").blocks() * 512 < 1 << 20 && at("hole").blocks() == 0, "holes are not stored");
    // Two equal files are stored once.
    let stored: u64 = walkdir::WalkDir::new(bench.path("store/chunks"))
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum();
    assert!((3_000_000..3_100_000).contains(&stored), "{stored}");
}

#[test]
fn changed_files_are_restored_and_others_are_not_touched() {
    let bench = TestDirectories::new();
    for path in ["content", "mode", "time", "attribute", "owner", "same", "names/one"] {
        bench.write(path, path.as_bytes());
    }
    let from = bench.path("from");
    fs::hard_link(from.join("names/one"), from.join("names/two")).unwrap();
    symlink("same", from.join("link")).unwrap();
    age(&from);
    let entry = bench.save(None).saved.entry;
    bench.restore(&entry).unwrap();
    let to = bench.path("to");
    let same = fs::metadata(to.join("same")).unwrap();

    let time = FileTime::from_last_modification_time(&fs::metadata(to.join("content")).unwrap());
    fs::write(to.join("content"), "larger than it was").unwrap();
    filetime::set_file_mtime(to.join("content"), time).unwrap();
    fs::set_permissions(to.join("mode"), Permissions::from_mode(0o4711)).unwrap();
    let nanosecond = FileTime::from_unix_time(time.unix_seconds(), time.nanoseconds() + 1);
    filetime::set_file_mtime(to.join("time"), nanosecond).unwrap();
    xattr(&to.join("attribute"), "user.larder", b"mine");
    fs::remove_file(to.join("names/two")).unwrap();
    fs::copy(to.join("names/one"), to.join("names/two")).unwrap();
    fs::remove_file(to.join("link")).unwrap();
    symlink("elsewhere", to.join("link")).unwrap();
    let mut changed = 6;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(to.join("owner"), Some(12), None).unwrap();
        changed += 1;
    }
    let restored = bench.restore(&entry).unwrap();
    assert_eq!(tree(&to), tree(&from));
    assert_eq!(restored.written_files, changed);
    let after = fs::metadata(to.join("same")).unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (same.ino(), same.ctime_nsec()));
}

#[test]
fn sockets_and_pipes_are_left_out_and_reported() {
    let bench = TestDirectories::new();
    bench.write("file", b"x");
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, bench.path("from/pipe"), pipe, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("from/s")).unwrap();
    fs::create_dir(bench.path("from/.larder-restore-0123")).unwrap();
    let walked = bench.walk();
    let left_out: Vec<String> = walked.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(left_out, ["pipe is a pipe", "s is a socket"]);
    assert_eq!(walked.found.len(), 1, "staging directories are not saved");
}

/// A node to create.
#[derive(Debug, Clone)]
enum GeneratedNode {
    File(Vec<u8>, u32),
    Directory(u32),
    Link(String),
    HardLink(usize),
}

fn generated_node() -> impl Strategy<Value = (Vec<u8>, GeneratedNode)> {
    // Few different names, so that some paths are equal.
    let name = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'-'), Just(0xff), Just(b'\n')], 1..3);
    let path = proptest::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'));
    let content = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..50),
        (any::<u64>(), 200_000_usize..400_000).prop_map(|(seed, size)| noise(seed, size)),
    ];
    let made = prop_oneof![
        4 => (content, 0o400_u32..0o10000).prop_map(|(content, mode)| GeneratedNode::File(content, mode)),
        2 => (0o700_u32..0o10000).prop_map(GeneratedNode::Directory),
        1 => "[a-]{1,2}".prop_map(GeneratedNode::Link),
        1 => (0_usize..9).prop_map(GeneratedNode::HardLink),
    ];
    (path, made)
}

/// Creates all nodes that can be created; sets the modes of directories last.
fn create_tree(root: &Path, tree: &[(Vec<u8>, GeneratedNode)]) {
    fs::create_dir_all(root).unwrap();
    let mut modes = Vec::new();
    for (path, made) in tree {
        let path = root.join(OsString::from_vec(path.clone()));
        if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
            continue;
        }
        match made {
            GeneratedNode::File(content, mode) => {
                if fs::write(&path, content).is_ok() {
                    fs::set_permissions(&path, Permissions::from_mode(*mode | 0o400)).unwrap();
                }
            }
            GeneratedNode::Directory(mode) => {
                if fs::create_dir(&path).is_ok() {
                    modes.push((path, *mode));
                }
            }
            GeneratedNode::Link(target) => _ = symlink(target, &path),
            GeneratedNode::HardLink(number) => {
                let target = root.join(OsString::from_vec(tree[number % tree.len()].0.clone()));
                if target.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                    let _ = fs::hard_link(target, &path);
                }
            }
        }
    }
    for (path, mode) in modes {
        fs::set_permissions(path, Permissions::from_mode(mode | 0o700)).unwrap();
    }
    age(root);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_tree_is_restored_over_any_other_and_a_second_restore_writes_nothing(
        before in proptest::collection::vec(generated_node(), 0..12),
        after in proptest::collection::vec(generated_node(), 0..12),
    ) {
        let bench = TestDirectories::new();
        create_tree(&bench.path("from"), &after);
        let entry = bench.save(None).saved.entry;
        let fresh = bench.restore(&entry).unwrap();
        prop_assert_eq!(tree(&bench.path("to")), tree(&bench.path("from")));
        prop_assert_eq!(fresh.written_files, fresh.files);
        let again = bench.restore(&entry).unwrap();
        prop_assert_eq!(again.written_files, 0);

        fs::remove_dir_all(bench.path("to")).unwrap();
        create_tree(&bench.path("to"), &before);
        let existing = tree(&bench.path("to"));
        match bench.restore(&entry) {
            Ok(_) => {
                let (now, wanted) = (tree(&bench.path("to")), tree(&bench.path("from")));
                let paths = |tree: &[(Node, Vec<u8>)]| -> Vec<OsString> {
                    tree.iter().map(|(node, _)| node.path.clone()).collect()
                };
                let (now_paths, wanted_paths) = (paths(&now), paths(&wanted));
                for (node, content) in &wanted {
                    let place = now_paths.iter().position(|path| *path == node.path);
                    prop_assert!(place.is_some(), "{:?} is missing", node.path);
                    let (found, bytes) = &now[place.unwrap()];
                    if let NodeKind::File(_) | NodeKind::HardLink { .. } = node.kind {
                        let read = |root: &str| fs::read(bench.path(root).join(&node.path)).unwrap();
                        prop_assert_eq!(read("to"), read("from"));
                        continue;
                    }
                    prop_assert_eq!((found, bytes), (node, content));
                }
                for path in now_paths {
                    let was = existing.iter().any(|(node, _)| node.path == path);
                    prop_assert!(was || wanted_paths.contains(&path), "{path:?} is in neither tree");
                }
            }
            Err(RestoreError::DirectoryInTheWay(_)) => prop_assert_eq!(tree(&bench.path("to")), existing),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_missing_or_empty_directory_is_never_visible_half_restored() {
    let bench = TestDirectories::new();
    for number in 0..400 {
        bench.write(&format!("lib/{}/{number}", number % 7), &noise(number, 3000));
    }
    let entry = bench.save(None).saved.entry;
    let to = bench.path("parent/to");
    let seen = || -> Option<usize> {
        let entries = std::fs::read_dir(&to).ok()?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let visible = names.filter(|name| !name.starts_with(STAGING)).count();
        let files = walkdir::WalkDir::new(to.join("lib")).into_iter().flatten();
        Some(if visible == 0 { 0 } else { files.filter(|found| found.file_type().is_file()).count() })
    };
    for made_before in [false, true] {
        if made_before {
            std::fs::create_dir_all(&to).unwrap();
        }
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let times = std::thread::scope(|threads| {
            let watching = threads.spawn(|| {
                let mut times = 0;
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    match seen() {
                        None if !made_before => {}
                        Some(0) if made_before => {}
                        found => assert_eq!(found, Some(400)),
                    }
                    times += 1;
                }
                times
            });
            let restored = restore(&bench.store, &entry, &to, RestoreOptions::default(), &Meter::default());
            assert_eq!(restored.unwrap().written_files, 400);
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            watching.join().unwrap()
        });
        assert!(times > 5, "the directory was checked only {times} times");
        assert_eq!(tree(&to).len(), tree(&bench.path("from")).len());
        let beside: Vec<_> = std::fs::read_dir(to.parent().unwrap()).unwrap().collect();
        assert_eq!(beside.len(), 1, "temporary directories remain: {beside:?}");
        std::fs::remove_dir_all(to.parent().unwrap()).unwrap();
    }
}
