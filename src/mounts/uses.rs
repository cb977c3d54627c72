//! Counts the files of a mount that a build used or added. Does no I/O.

use std::collections::HashMap;

use serde::Serialize;

use super::conversation::MountListing;
use crate::archive::{FileData, Listing, Node, NodeKind};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
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

/// Returns the data of a file in the earlier entry, if the file is unchanged.
pub(super) fn known<'a>(node: &Node, listed: &'a Listing) -> Option<&'a FileData> {
    let size = file(node)?.size;
    let before = listed.find(&node.path)?;
    file(before).filter(|file| file.size == size && before.mtime == node.mtime)
}

#[derive(Default)]
pub(super) struct UsageCounts {
    pub(super) used: Tally,
    pub(super) added: Tally,
    /// Packages among the used files.
    pub(super) packages: Tally,
    /// The modification time of the oldest added file, in seconds since 1970.
    pub(super) oldest_added: Option<i64>,
}

impl UsageCounts {
    /// Counts the uses. Updates, for each file, the number of consecutive builds that did not read its unit.
    pub(super) fn of(found: &mut MountListing, listed: Option<&Listing>, units: &[Option<u32>]) -> Self {
        let mut counted = Self::default();
        // For each unit: `true` if one of its files was read, and the number of builds that read none of them.
        let mut uses: HashMap<Option<u32>, (bool, u32)> = HashMap::new();
        for ((node, time), unit) in found.listing.nodes.iter().zip(&found.used).zip(units) {
            let Some(file) = file(node) else { continue };
            let known = listed.and_then(|listed| known(node, listed));
            let is_used = match known {
                None => {
                    counted.added.add(file.size);
                    let seconds = node.mtime.0;
                    counted.oldest_added =
                        Some(counted.oldest_added.map_or(seconds, |oldest| oldest.min(seconds)));
                    true
                }
                Some(_) => found.records_access_times && *time != node.mtime,
            };
            if let Some(known) = known.filter(|_| is_used) {
                counted.used.add(file.size);
                if known.package {
                    counted.packages.add(file.size);
                }
            }
            let (is_one_used, unused) = uses.entry(*unit).or_insert((false, u32::MAX));
            *is_one_used |= is_used;
            *unused = known.map_or(0, |known| known.unused).min(*unused);
        }
        // A build that did not touch the mount, because the layer was cached, does not show which files are needed.
        let is_counted = found.records_access_times && counted.used.files + counted.added.files > 0;
        for (node, unit) in found.listing.nodes.iter_mut().zip(units) {
            if let NodeKind::File(file) = &mut node.kind {
                file.unused = match uses.get(unit) {
                    Some((false, unused)) if is_counted => unused.saturating_add(1),
                    Some((false, unused)) => *unused,
                    _ => 0,
                };
            }
        }
        counted
    }
}
