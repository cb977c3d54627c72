//! Tests of the encoding and validation of listings.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use crate::archive::{FileData, Listing, ListingFault, ListingLimits, Node, NodeKind, NodeTime, path};

const LIMITS: ListingLimits = ListingLimits { content: 1000, outside_links: false };

fn node(path: &str, kind: NodeKind) -> Node {
    Node {
        path: path.into(),
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: NodeTime(3, 4),
        xattrs: [("user.x".to_owned(), vec![0, 255])].into(),
    }
}

fn directory(path: &str) -> Node {
    node(path, NodeKind::Directory)
}

fn file(path: &str, at: u64, size: u64) -> Node {
    node(path, NodeKind::File(FileData { size, used: 5, at, ..FileData::default() }))
}

fn sparse(path: &str, size: u64, at: u64, data: &[(u64, u64)]) -> Node {
    node(
        path,
        NodeKind::File(FileData { size, used: 5, at, data: Some(data.to_vec()), unused: 3, package: true }),
    )
}

fn symlink(path: &str, target: &str) -> Node {
    node(path, NodeKind::Symlink { target: target.into() })
}

fn hard_link(path: &str, target: &str) -> Node {
    node(path, NodeKind::HardLink { target: target.into() })
}

fn fault(nodes: &[Node]) -> Option<(String, ListingFault)> {
    let refused = Listing { nodes: nodes.to_vec() }.validate(LIMITS).err()?;
    Some((refused.path, refused.fault))
}

#[test]
fn listings_of_saved_directories_are_valid() {
    let nodes = [
        directory("a"),
        file("a/b", 0, 10),
        sparse("a/c", 1 << 30, 10, &[(0, 5), (1 << 29, 5)]),
        hard_link("a/d", "a/b"),
        symlink("a/e", "../a-b/./x"),
        symlink("a/f", "gone"),
        file("a-b", 20, 0),
        file("back\\slash", 1000, 0),
        sparse("hole", 1 << 20, 0, &[]),
        file("new\nline", 20, 980),
    ];
    assert_eq!(fault(&nodes), None);
}

#[test]
fn listings_that_lead_outside_or_grow_are_refused_with_the_path() {
    let long = "x".repeat(256);
    let deep = "x/".repeat(2048) + "x";
    let huge = (1 << 40) + 1;
    let leads_out = |target: &str| ListingFault::LeadsOut(target.to_owned());
    let no_file = |target: &str| ListingFault::HardLink(target.to_owned());
    let table: Vec<(Vec<Node>, &str, ListingFault)> = vec![
        (vec![file("/etc/passwd", 0, 1)], "/etc/passwd", ListingFault::Absolute),
        (vec![file("", 0, 1)], "", ListingFault::Empty),
        (vec![directory("a"), file("a//b", 0, 1)], "a//b", ListingFault::Empty),
        (vec![directory("a/")], "a/", ListingFault::Empty),
        (vec![directory(".")], ".", ListingFault::Dots),
        (vec![directory("..")], "..", ListingFault::Dots),
        (vec![directory("a"), file("a/../b", 0, 1)], "a/../b", ListingFault::Dots),
        (vec![file("a\0b", 0, 1)], "a\\0b", ListingFault::Nul),
        (vec![file(&long, 0, 1)], &long, ListingFault::LongName),
        (vec![file(&deep, 0, 1)], &deep, ListingFault::LongName),
        (vec![directory(".larder-restore-x")], ".larder-restore-x", ListingFault::Reserved),
        (vec![file("a", 0, 1), file("a", 1, 1)], "a", ListingFault::Order),
        (vec![file("b", 0, 1), file("a", 1, 1)], "a", ListingFault::Order),
        (vec![file("a", 0, 1), file("a/b", 1, 1)], "a/b", ListingFault::Parent),
        (vec![symlink("a", "b"), file("a/b", 1, 1)], "a/b", ListingFault::Parent),
        (vec![file("a/b", 0, 1)], "a/b", ListingFault::Parent),
        (vec![directory("a"), directory("b"), file("b/c/d", 0, 1)], "b/c/d", ListingFault::Parent),
        (vec![symlink("a", "/etc")], "a", leads_out("/etc")),
        (vec![symlink("a", "..")], "a", leads_out("..")),
        (vec![directory("a"), symlink("a/b", "x/../../../y")], "a/b", leads_out("x/../../../y")),
        (vec![symlink("a", "")], "a", ListingFault::NoTarget),
        (vec![symlink("a", "x\0")], "a", ListingFault::Nul),
        (vec![hard_link("a", "a")], "a", no_file("a")),
        (vec![hard_link("a", "b"), file("b", 0, 1)], "a", no_file("b")),
        (vec![hard_link("a", "/etc/passwd")], "a", no_file("/etc/passwd")),
        (vec![directory("a"), hard_link("b", "a")], "b", no_file("a")),
        (vec![symlink("a", "x"), hard_link("b", "a")], "b", no_file("a")),
        (vec![file("a", 0, 1), hard_link("b", "a"), hard_link("c", "b")], "c", no_file("b")),
        (vec![file("a", 0, 1001)], "a", ListingFault::OutsideContent),
        (vec![file("a", u64::MAX, 1)], "a", ListingFault::OutsideContent),
        (vec![file("a", 1000, 1)], "a", ListingFault::OutsideContent),
        (vec![sparse("a", huge, 0, &[])], "a", ListingFault::TooLarge(huge)),
        (vec![sparse("a", 10, 0, &[(0, 5), (4, 2)])], "a", ListingFault::Segments),
        (vec![sparse("a", 10, 0, &[(5, 2), (0, 2)])], "a", ListingFault::Segments),
        (vec![sparse("a", 10, 0, &[(5, 6)])], "a", ListingFault::Segments),
        (vec![sparse("a", 10, 0, &[(u64::MAX, 2)])], "a", ListingFault::Segments),
        (vec![sparse("a", 10, 0, &[(5, 0)])], "a", ListingFault::Segments),
        (vec![file("a", 0, 10), file("b", 9, 10)], "b", ListingFault::Shared("a".to_owned())),
        (vec![file("a", 0, 10), file("b", 0, 10)], "b", ListingFault::Shared("a".to_owned())),
        (vec![Node { mtime: NodeTime(0, 1_000_000_000), ..file("a", 0, 1) }], "a", ListingFault::Time),
        (
            vec![Node { xattrs: [("a\0".to_owned(), vec![])].into(), ..file("a", 0, 1) }],
            "a",
            ListingFault::Attribute("a\\0".to_owned()),
        ),
    ];
    for (nodes, path, expected) in table {
        assert_eq!(fault(&nodes), Some((path.to_owned(), expected)));
    }
    let outside = Listing { nodes: vec![symlink("python", "/usr/bin/python3")] };
    assert_eq!(outside.validate(ListingLimits { outside_links: true, ..LIMITS }), Ok(()));
}

#[test]
fn an_invalid_listing_is_refused_with_the_line() {
    let head = "{\"schema\":\"larder.dir-listing.v1\"}\n";
    let fields = "\"mode\":\"0644\",\"uid\":0,\"gid\":0,\"mtime\":[0,0]";
    for (text, place, reason) in [
        ("", "line 1", "EOF"),
        ("{}\n", "line 1", "schema"),
        ("{\"schema\":\"larder.dir-listing.v2\"}\n", "line 1", "unknown"),
        (&format!("{head}x\n"), "line 2", "expected value"),
        (&format!("{head}\n"), "line 2", "EOF"),
        (&format!("{head}{{\"kind\":\"directory\",{fields}}}\n"), "line 2", "exactly one of"),
        (
            &format!("{head}{{\"path\":\"a\",\"path_base64\":\"YQ==\",\"kind\":\"directory\",{fields}}}\n"),
            "line 2",
            "exactly one of",
        ),
        (&format!("{head}{{\"path\":\"a\",\"kind\":\"directory\",{fields}}}"), "line 2", "ends within"),
        (
            &format!("{head}{{\"path\":\"dev\",\"kind\":\"char-device\",{fields}}}\n"),
            "dev",
            "unknown kind `char-device`",
        ),
        (&format!("{head}{{\"path\":\"a\",\"kind\":\"file\",\"at\":0,{fields}}}\n"), "a", "has no size"),
        (
            &format!("{head}{{\"path\":\"a\",\"kind\":\"file\",\"size\":-1,{fields}}}\n"),
            "line 2",
            "invalid value",
        ),
        (&format!("{head}{{\"path\":\"a\",\"kind\":\"symlink\",{fields}}}\n"), "a", "has no target"),
        (
            &format!(
                "{head}{}\n",
                "{\"path\":\"a\",\"kind\":\"directory\",\"mode\":\"17777\",\"uid\":0,\"gid\":0,\"mtime\":[0,0]}"
            ),
            "a",
            "`17777` is not a mode",
        ),
    ] {
        let refused = Listing::parse(text.as_bytes()).unwrap_err();
        assert_eq!(refused.path, place, "{text}");
        assert!(refused.fault.to_string().contains(reason), "{} in {text}", refused.fault);
    }
}

fn bytes() -> impl Strategy<Value = OsString> {
    proptest::collection::vec(any::<u8>(), 0..9).prop_map(OsString::from_vec)
}

fn any_node() -> impl Strategy<Value = Node> {
    let data = proptest::option::of(proptest::collection::vec(any::<(u64, u64)>(), 0..4));
    let kind = prop_oneof![
        Just(NodeKind::Directory),
        (any::<u64>(), any::<i64>(), any::<u64>(), data).prop_map(|(size, used, at, data)| NodeKind::File(
            FileData { size, used, at, data, ..FileData::default() }
        )),
        bytes().prop_map(|target| NodeKind::Symlink { target }),
        bytes().prop_map(|target| NodeKind::HardLink { target }),
    ];
    let rest = (0..0o10000_u32, any::<u32>(), any::<u32>(), any::<(i64, u32)>());
    let xattrs = proptest::collection::btree_map(any::<String>(), any::<Vec<u8>>(), 0..3);
    (bytes(), kind, rest, xattrs).prop_map(|(path, kind, (mode, uid, gid, (seconds, nanos)), xattrs)| Node {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime: NodeTime(seconds, nanos),
        xattrs,
    })
}

proptest! {
    #[test]
    fn a_parsed_listing_equals_the_encoded_one_for_any_names(nodes in proptest::collection::vec(any_node(), 0..6)) {
        let listing = Listing { nodes };
        let bytes = listing.encode();
        prop_assert_eq!(String::from_utf8_lossy(&bytes).lines().count(), listing.nodes.len() + 1);
        prop_assert_eq!(Listing::parse(&bytes), Ok(listing));
    }

    #[test]
    fn a_directory_comes_right_before_its_content(mut paths in proptest::collection::vec("[a/.-]{1,6}", 2..8)) {
        paths.sort_by(|one, other| path::compare(one.as_ref(), other.as_ref()));
        for (place, path) in paths.iter().enumerate() {
            let below: Vec<bool> =
                paths[place..].iter().map(|other| other.starts_with(&format!("{path}/")) || other == path).collect();
            let count = below.iter().filter(|below| **below).count();
            prop_assert!(below[..count].iter().all(|below| *below), "{paths:?}");
        }
    }
}
