//! The earlier entry of a directory, and which files of the directory are known to be in it. Does not change the
//! directory or the store.

use std::io;

use humansize::{DECIMAL, format_size};

use super::index::DirectoryIndex;
use super::listing::{FileData, Listing, Node, NodeKind};
use super::validate::{InvalidListing, LARGEST_LISTING, ListingFault, ListingLimits};
use super::walk::{WalkedDirectory, WalkedNode};
use crate::store::{Entry, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the entry is rejected")]
    Refused(#[from] InvalidListing),
}

/// Reads and validates the listing of an entry. Fails if the listing cannot be read, or if restoring it is not allowed.
pub(crate) fn read_listing(
    store: &Store,
    entry: &Entry,
    outside_links: bool,
) -> Result<Listing, ListingError> {
    let span = entry.manifest.listing;
    if span.size > LARGEST_LISTING {
        let path = entry.manifest.subject.title.clone();
        return Err(InvalidListing { path, fault: ListingFault::LargeListing(span.size) }.into());
    }
    let listing = Listing::parse(&store.read(entry, span)?)?;
    let content = entry.manifest.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
    listing.validate(ListingLimits { content, outside_links })?;
    Ok(listing)
}

/// An entry that contains files of the directory in their current state.
#[derive(Debug)]
pub(crate) struct BaseEntry {
    pub(crate) entry: Entry,
    pub(crate) listing: Listing,
    /// The stamps of the files that are known to be in the entry.
    pub(crate) index: DirectoryIndex,
}

impl BaseEntry {
    /// Returns the location of the file's content in the entry, if the file is known to be unchanged.
    pub(crate) fn known(&self, found: &WalkedNode) -> Option<&FileData> {
        let (stamp, file) = (found.stamp.as_ref()?, found.node.file()?);
        if self.index.stamp(&found.node.path) != Some(stamp) {
            return None;
        }
        self.listing.find(&found.node.path)?.file().filter(|known| known.size == file.size)
    }

    /// Returns `true` if the entry has exactly the content of the directory, ignoring access times.
    pub(crate) fn has_same_content(&self, walked: &WalkedDirectory) -> bool {
        let nodes = &self.listing.nodes;
        nodes.len() == walked.found.len()
            && nodes.iter().zip(&walked.found).all(|(node, found)| match &found.node.kind {
                NodeKind::File(_) => {
                    Node { kind: node.kind.clone(), ..found.node.clone() } == *node
                        && self.known(found).is_some()
                }
                _ => found.node == *node,
            })
    }
}

/// The reason why a directory must not replace its earlier entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShrinkReason {
    #[error("it does not exist")]
    Missing,
    #[error("it is empty")]
    Empty,
    #[error("it contains {}, but the last entry contains {}", format_size(*now, DECIMAL), format_size(*before, DECIMAL))]
    Smaller { now: u64, before: u64 },
}

/// Entries up to this size, in bytes, may be replaced by entries of any size.
const SMALL: u64 = 1 << 20;

/// Returns the reason if a directory (`None` if it does not exist) must not replace an entry of `before` bytes, because
/// it looks as if it had been emptied by accident.
pub(crate) fn check_shrink(walked: Option<&WalkedDirectory>, before: Option<u64>) -> Option<ShrinkReason> {
    let Some(walked) = walked else { return Some(ShrinkReason::Missing) };
    if walked.is_empty() {
        return Some(ShrinkReason::Empty);
    }
    ShrinkReason::for_sizes(walked.bytes(), before)
}

impl ShrinkReason {
    /// Returns the reason if an entry of `before` bytes must not be replaced by one of `now` bytes.
    pub(crate) fn for_sizes(now: u64, before: Option<u64>) -> Option<Self> {
        let before = before.filter(|before| *before > SMALL)?;
        (now < before / 10).then_some(Self::Smaller { now, before })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub(crate) struct PathError {
    pub(crate) action: &'static str,
    pub(crate) path: String,
    #[source]
    pub(crate) source: io::Error,
}
