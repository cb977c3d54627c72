//! Tests of which entries a walk returns, and in which order.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tempfile::TempDir;

use super::super::{ContextEntryKind, ContextError, Filter, walk};
use super::{strings, write_files};

/// Creates a directory that contains empty files at these paths.
fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write_files(root.path(), &files.iter().map(|path| (*path, "")).collect::<Vec<_>>());
    root
}

fn filter(include: &[&str], exclude: &[&str], follow: &[&str]) -> Filter {
    let (include, exclude, follow) = (strings(include), strings(exclude), strings(follow));
    Filter { include, exclude, follow, ..Filter::default() }
}

fn paths(root: &Path, filter: &Filter) -> Vec<String> {
    walk(root, filter).unwrap().map(|entry| entry.unwrap().path).collect()
}

fn kinds(root: &Path, filter: &Filter) -> Vec<(String, ContextEntryKind)> {
    walk(root, filter).unwrap().map(Result::unwrap).map(|entry| (entry.path, entry.kind)).collect()
}

#[test]
fn names_come_in_byte_order_and_depth_first() {
    let root = tree(&["b/z", "b/a/x", "b.txt", "b-1/y", "B", "é", "a"]);
    let expected = ["B", "a", "b", "b/a", "b/a/x", "b/z", "b-1", "b-1/y", "b.txt", "é"];
    // `b` is sorted by its name: `b` and its content come before `b-1`, although `/` sorts after `-`.
    assert_eq!(paths(root.path(), &Filter::default()), expected);
}

#[test]
fn filters_select_the_same_entries_as_fsutil() {
    let root = tree(&["a/b/c", "a/b/d", "a/e", "a.txt", "x/y/z.py", "x/y/z.pyc", "x/.git/config", "top.py"]);
    let all = [
        "a",
        "a/b",
        "a/b/c",
        "a/b/d",
        "a/e",
        "a.txt",
        "top.py",
        "x",
        "x/.git",
        "x/.git/config",
        "x/y",
        "x/y/z.py",
        "x/y/z.pyc",
    ];
    // Include, exclude, expected.
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &[], &all),
        (&["."], &[], &[]),
        (&["  "], &[], &[]),
        (&["**"], &[], &all),
        (&["a/b/c"], &[], &["a", "a/b", "a/b/c"]),
        (&["a/b"], &[], &["a", "a/b", "a/b/c", "a/b/d"]),
        (&["a"], &["a/b"], &["a", "a/e"]),
        (&["*.txt", "a/*/d"], &[], &["a", "a/b", "a/b/d", "a.txt"]),
        (&["**/*.py"], &[], &["top.py", "x", "x/y", "x/y/z.py"]),
        (&["a", "!a/b"], &[], &["a", "a/e"]),
        (&["/a"], &[], &[]),
        (&["a/"], &["**/d"], &["a", "a/b", "a/b/c", "a/e"]),
        (&[], &["*"], &[]),
        (&[], &["a", "x"], &["a.txt", "top.py"]),
        (&[], &["*", "!a/b/c"], &["a", "a/b", "a/b/c"]),
        (&[], &["*", "!a/b"], &["a", "a/b", "a/b/c", "a/b/d"]),
        (&[], &["**", "!**/*.py"], &["top.py", "x", "x/y", "x/y/z.py"]),
        (&[], &["a/**", "x/y/"], &["a", "a.txt", "top.py", "x", "x/.git", "x/.git/config"]),
        (&[], &["a/*", "**/*.py*", "**/.git"], &["a", "a.txt", "x", "x/y"]),
        (&[], &["x", "!x/y", "x/y/*.pyc", "a*"], &["top.py", "x", "x/y", "x/y/z.py"]),
        (&["a/b/c"], &["a", "!a/b/c"], &["a", "a/b", "a/b/c"]),
        (&["a/b/c"], &["a/b"], &[]),
    ];
    for (include, exclude, expected) in table {
        let filter = filter(include, exclude, &[]);
        assert_eq!(paths(root.path(), &filter), *expected, "{include:?} without {exclude:?}");
    }
}

#[test]
fn followed_paths_include_the_targets_of_links() {
    let root = tree(&["real/file", "real/other", "deep/down/file", "apps/one/f", "apps/two/f", "plain"]);
    let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
    link("real/file", "to-file");
    link("/real", "to-dir");
    link("../../../deep", "outward");
    link("to-file", "chain");
    link("loop-b", "loop-a");
    link("loop-a", "loop-b");
    link("self", "self");
    link("nowhere", "dangling");
    link("../real/other", "apps/link");
    link(".", "here");
    // Include, follow, expected.
    let everything = paths(root.path(), &Filter::default());
    let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["plain"], &["plain"]),
        (&[], &["to-file"], &["real", "real/file", "to-file"]),
        (&[], &["chain"], &["chain", "real", "real/file", "to-file"]),
        (&[], &["to-dir/file"], &["real", "real/file", "to-dir"]),
        (&[], &["to-dir"], &["real", "real/file", "real/other", "to-dir"]),
        (&[], &["/to-dir/../plain"], &["plain"]),
        (&[], &["outward/down"], &["deep", "deep/down", "deep/down/file", "outward"]),
        (&[], &["loop-a"], &["loop-a", "loop-b"]),
        (&[], &["self/x"], &["self"]),
        (&[], &["dangling"], &["dangling"]),
        (&[], &["absent/x"], &[]),
        (&[], &["plain/x"], &[]),
        (&[], &["../plain"], &[]),
        (&[], &["apps/l*"], &["apps", "apps/link", "real", "real/other"]),
        (&[], &["apps/*/f"], &["apps", "apps/link", "apps/one", "apps/one/f", "apps/two", "apps/two/f"]),
        (&["plain"], &["to-file"], &["plain", "real", "real/file", "to-file"]),
        // The context itself is among the followed paths: no restriction, or only that of the include list.
        (&[], &["."], &everything),
        (&[], &[""], &everything),
        (&[], &["here"], &everything),
        (&["plain"], &["."], &["plain"]),
        (&["."], &["plain"], &everything),
        // The second path through a link is lost, as in upstream.
        (&[], &["to-dir/file", "to-dir/other"], &["real", "real/file", "to-dir"]),
    ];
    for (include, follow, expected) in table {
        let filter = filter(include, &[], follow);
        assert_eq!(paths(root.path(), &filter), *expected, "{include:?} following {follow:?}");
    }
}

#[test]
fn hard_links_refer_to_the_first_selected_path() {
    let root = tree(&["b/first", "other"]);
    write_files(root.path(), &[("b/first", "content")]);
    for name in ["c", "d"] {
        fs::hard_link(root.path().join("b/first"), root.path().join(name)).unwrap();
    }
    let to = |path: &str| ContextEntryKind::HardLink(path.to_owned());
    let entry = |path: &str, kind| (path.to_owned(), kind);
    assert_eq!(
        kinds(root.path(), &filter(&[], &["other"], &[])),
        [
            entry("b", ContextEntryKind::Directory),
            entry("b/first", ContextEntryKind::File),
            entry("c", to("b/first")),
            entry("d", to("b/first"))
        ]
    );
    assert_eq!(
        kinds(root.path(), &filter(&[], &["other", "b"], &[])),
        [entry("c", ContextEntryKind::File), entry("d", to("c"))]
    );
    let sizes = walk(root.path(), &filter(&["b", "c"], &[], &[])).unwrap().map(|entry| entry.unwrap().size());
    assert_eq!(sizes.collect::<Vec<_>>(), [0, 7, 7]);
}

#[test]
fn special_files_are_distinguished_and_links_are_not_followed() {
    let root = tree(&["dir/file"]);
    symlink("dir", root.path().join("link")).unwrap();
    symlink("..", root.path().join("dir/up")).unwrap();
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    let fifo = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let expected = [
        ("dir", ContextEntryKind::Directory),
        ("dir/file", ContextEntryKind::File),
        ("dir/up", ContextEntryKind::Symlink("..".into())),
        ("link", ContextEntryKind::Symlink("dir".into())),
        ("pipe", ContextEntryKind::Fifo),
        ("socket", ContextEntryKind::Socket),
    ];
    assert_eq!(kinds(root.path(), &Filter::default()), expected.map(|(path, kind)| (path.to_owned(), kind)));
}

#[test]
fn the_context_itself_may_be_a_link_but_must_be_a_directory() {
    let root = tree(&["real/file", "plain"]);
    symlink("real", root.path().join("link")).unwrap();
    assert_eq!(paths(&root.path().join("link"), &Filter::default()), ["file"]);
    let open = |name: &str| walk(&root.path().join(name), &Filter::default()).unwrap_err();
    assert!(matches!(open("plain"), ContextError::NotADirectory { path } if path.ends_with("plain")));
    assert!(matches!(open("absent"), ContextError::Root { path, .. } if path.ends_with("absent")));
}

#[test]
fn malformed_patterns_are_refused_before_the_walk() {
    let root = tree(&[]);
    for (filter, expected) in [(filter(&["["], &[], &[]), "include"), (filter(&[], &["!"], &[]), "exclude")] {
        let error = walk(root.path(), &filter).unwrap_err();
        assert!(matches!(error, ContextError::Pattern { list, .. } if list == expected));
    }
}

#[test]
fn a_name_that_is_not_utf8_is_an_error_unless_it_is_excluded() {
    let root = tree(&["z"]);
    let name = OsStr::from_bytes(b"caf\xE9");
    fs::create_dir(root.path().join(name)).unwrap();
    fs::write(root.path().join(name).join("inside"), "").unwrap();
    let found: Vec<_> = walk(root.path(), &Filter::default()).unwrap().collect();
    let [Err(ContextError::NotUtf8 { path, .. })] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(path, "caf\u{FFFD}");
    for exclude in ["caf?", "caf\u{FFFD}", "c*"] {
        assert_eq!(paths(root.path(), &filter(&[], &[exclude, "!**/absent"], &[])), ["z"], "{exclude}");
    }
    symlink(name, root.path().join("link")).unwrap();
    let link = walk(root.path(), &filter(&["link"], &[], &[])).unwrap().next();
    assert!(matches!(link, Some(Err(ContextError::NotUtf8 { what: "the link target", .. }))));
}

#[test]
fn files_that_vanish_during_the_walk_are_left_out() {
    let root = tree(&["a", "b", "c/d", "e"]);
    let mut walk = walk(root.path(), &Filter::default()).unwrap();
    assert_eq!(walk.next().unwrap().unwrap().path, "a");
    fs::remove_file(root.path().join("b")).unwrap();
    fs::remove_dir_all(root.path().join("c")).unwrap();
    assert_eq!(walk.map(|entry| entry.unwrap().path).collect::<Vec<_>>(), ["e"]);
}

#[test]
fn an_unreadable_directory_is_an_error_only_if_it_is_wanted() {
    let root = tree(&["closed/file", "open"]);
    let close =
        |mode| fs::set_permissions(root.path().join("closed"), fs::Permissions::from_mode(mode)).unwrap();
    close(0);
    if fs::read_dir(root.path().join("closed")).is_err() {
        let found: Vec<_> = walk(root.path(), &Filter::default()).unwrap().collect();
        assert!(
            matches!(found.last(), Some(Err(ContextError::Unreadable { path, .. })) if path.ends_with("closed"))
        );
        // The directory may contain an exception, so it is listed.
        assert_eq!(paths(root.path(), &filter(&[], &["closed", "!**/x"], &[])), ["open"]);
    }
    assert_eq!(paths(root.path(), &filter(&[], &["closed"], &[])), ["open"]);
    close(0o755);
}

#[test]
fn an_unreadable_path_is_an_error_only_for_a_source_that_copies_it() {
    let root = tree(&["src/file", "data/file", "other/file"]);
    // Not even root can send a name that is not UTF-8.
    fs::create_dir(root.path().join("data").join(OsStr::from_bytes(b"caf\xE9"))).unwrap();
    symlink("data", root.path().join("link")).unwrap();
    let reads = |copied: &str| {
        let text = format!("FROM scratch\nCOPY {copied} /to/\n");
        let dockerfile = crate::dockerfile::Dockerfile::parse(&text).unwrap();
        let paths = dockerfile.resolve(&crate::dockerfile::Options::default()).unwrap().context;
        crate::context::walk_selected(root.path(), &Filter::default(), &paths).is_ok()
    };
    for copied in ["src", "s*", "data/file", "data/f*", "src other", "--exclude=data --exclude=link . "] {
        assert!(reads(copied), "{copied}");
    }
    for copied in ["data", ".", "link", "d*", "*", "src data", "data/c*", "--exclude=src ."] {
        assert!(!reads(copied), "{copied}");
    }
}
