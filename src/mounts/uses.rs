//! What a build used of a mount, and what is left out since no build does: pure.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::conversation::Found;
use crate::archive::{FileData, Listing, Node, NodeKind};

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

pub(super) fn file(node: &Node) -> Option<&FileData> {
    match &node.kind {
        NodeKind::File(file) => Some(file),
        _ => None,
    }
}

/// Where the entry holds a file as it stands in the mount, if it does.
pub(super) fn known<'a>(node: &Node, listed: &'a Listing) -> Option<&'a FileData> {
    let size = file(node)?.size;
    let before = listed.find(&node.path)?;
    file(before).filter(|file| file.size == size && before.mtime == node.mtime)
}

/// What the build used and added.
pub(super) struct Counted {
    pub(super) used: Tally,
    pub(super) added: Tally,
    /// Packages among those used.
    pub(super) packages: Tally,
}

impl Counted {
    /// Counts, and notes with each file for how many builds nobody has read it.
    pub(super) fn of(found: &mut Found, listed: Option<&Listing>) -> Self {
        let mut counted =
            Self { used: Tally::default(), added: Tally::default(), packages: Tally::default() };
        // For each that belong together, whether one was read, and for how many builds none was.
        let mut uses: HashMap<OsString, (bool, u32)> = HashMap::new();
        for (node, time) in found.listing.nodes.iter().zip(&found.used) {
            let Some(file) = file(node) else { continue };
            let known = listed.and_then(|listed| known(node, listed));
            let is_used = match known {
                None => {
                    counted.added.add(file.size);
                    true
                }
                Some(_) => found.notes_uses && *time != node.mtime,
            };
            if let Some(known) = known.filter(|_| is_used) {
                counted.used.add(file.size);
                if known.package {
                    counted.packages.add(file.size);
                }
            }
            let (is_one_used, unused) = uses.entry(whole(&node.path).to_owned()).or_insert((false, u32::MAX));
            *is_one_used |= is_used;
            *unused = known.map_or(0, |known| known.unused).min(*unused);
        }
        // A build that did not touch the mount, since its layer was at hand, says nothing about what it needs.
        let counts = found.notes_uses && counted.used.files + counted.added.files > 0;
        for node in &mut found.listing.nodes {
            if let NodeKind::File(file) = &mut node.kind {
                file.unused = match uses.get(whole(&node.path)) {
                    Some((false, unused)) if counts => unused.saturating_add(1),
                    Some((false, unused)) => *unused,
                    _ => 0,
                };
            }
        }
        counted
    }
}

/// What a file is a part of: the body of a response of pip's cache belongs to its header.
fn whole(path: &OsStr) -> &OsStr {
    OsStr::from_bytes(path.as_bytes().strip_suffix(b".body").unwrap_or(path.as_bytes()))
}

/// Which files are left out.
pub(super) fn trim(nodes: &[Node], unused_builds: Option<u32>, max_size: Option<u64>) -> Vec<bool> {
    let is_stale = |file: &FileData| unused_builds.is_some_and(|limit| limit > 0 && file.unused >= limit);
    let mut going: Vec<bool> = nodes.iter().map(|node| file(node).is_some_and(is_stale)).collect();
    let Some(limit) = max_size else { return going };
    // Those that belong together, the least recently used ones first.
    let mut groups: HashMap<&OsStr, (u32, i64, u64, Vec<usize>)> = HashMap::new();
    let mut total = 0_u64;
    for (place, node) in nodes.iter().enumerate() {
        if let (false, Some(file)) = (going[place], file(node)) {
            let group = groups.entry(whole(&node.path)).or_insert((file.unused, i64::MIN, 0, Vec::new()));
            group.1 = group.1.max(file.used);
            group.2 = group.2.saturating_add(file.size);
            group.3.push(place);
            total = total.saturating_add(file.size);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_unstable_by_key(|(unused, used, _, places)| (std::cmp::Reverse(*unused), *used, places[0]));
    for (_, _, bytes, places) in groups {
        if total <= limit {
            break;
        }
        total -= bytes;
        for place in places {
            going[place] = true;
        }
    }
    going
}
