//! Fuzzes lists of directory entries.
//!
//! Checks that encoding a parsed listing and parsing it again returns the same listing, and that a valid listing
//! contains only entries that can be restored inside the directory and within the size limit.
#![no_main]

use std::collections::BTreeSet;
use std::path::{Component, Path};

use larder::archive::{Listing, ListingLimits, NodeKind};
use libfuzzer_sys::fuzz_target;

const CONTENT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Ok(listing) = Listing::parse(data) else { return };
    assert_eq!(Listing::parse(&listing.encode()).as_ref(), Ok(&listing));
    if listing.validate(ListingLimits { content: CONTENT, outside_links: false }).is_err() {
        return;
    }
    let mut directories = BTreeSet::new();
    let mut bytes = 0;
    for node in &listing.nodes {
        let path = Path::new(&node.path);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
        let parent = path.parent().expect("paths of nodes are not empty");
        assert!(parent == Path::new("") || directories.contains(parent), "{path:?}");
        match &node.kind {
            NodeKind::Directory => assert!(directories.insert(path), "{path:?}"),
            NodeKind::File(file) => bytes += file.stored_bytes().expect("validation accepted the size"),
            NodeKind::HardLink { target } => assert!(listing.find(target).is_some()),
            NodeKind::Symlink { target } => assert!(!Path::new(target).is_absolute()),
        }
    }
    assert!(bytes <= CONTENT);
});
