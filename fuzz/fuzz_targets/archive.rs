//! Lists of directory entries: what may be restored of them.
#![no_main]

use std::collections::BTreeSet;
use std::path::{Component, Path};

use larder::archive::{Limits, Listing, NodeKind};
use libfuzzer_sys::fuzz_target;

const CONTENT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Ok(listing) = Listing::parse(data) else { return };
    assert_eq!(Listing::parse(&listing.encode()).as_ref(), Ok(&listing));
    if listing.validate(Limits { content: CONTENT, outside_links: false }).is_err() {
        return;
    }
    let mut directories = BTreeSet::new();
    let mut bytes = 0;
    for node in &listing.nodes {
        let path = Path::new(&node.path);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
        let parent = path.parent().expect("it is not empty");
        assert!(parent == Path::new("") || directories.contains(parent), "{path:?}");
        match &node.kind {
            NodeKind::Directory => assert!(directories.insert(path), "{path:?}"),
            NodeKind::File(file) => bytes += file.stored().expect("it was counted"),
            NodeKind::HardLink { target } => assert!(listing.find(target).is_some()),
            NodeKind::Symlink { target } => assert!(!Path::new(target).is_absolute()),
        }
    }
    assert!(bytes <= CONTENT);
});
