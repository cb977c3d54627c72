//! An earlier entry of a directory, and what of the directory is known to be in it.

use std::io;

use humansize::{DECIMAL, format_size};

use super::index::Index;
use super::listing::{FileData, Listing, NodeKind};
use super::validate::{Fault, LARGEST_LISTING, Limits, Refused};
use super::walk::{Found, Walked};
use crate::store::{Entry, Store, StoreError};

/// The list of an entry cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnlistedError {
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the list says is not to be done.
    #[error("the entry is refused")]
    Refused(#[from] Refused),
}

/// The entry's list, checked.
///
/// # Errors
///
/// Fails when it cannot be read, and on what may not be restored.
pub(crate) fn read_listing(
    store: &Store,
    entry: &Entry,
    outside_links: bool,
) -> Result<Listing, UnlistedError> {
    let span = entry.manifest.listing;
    if span.size > LARGEST_LISTING {
        let path = entry.manifest.subject.title.clone();
        return Err(Refused { path, fault: Fault::LargeListing(span.size) }.into());
    }
    let listing = Listing::parse(&store.read(entry, span)?)?;
    let content = entry.manifest.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
    listing.validate(Limits { content, outside_links })?;
    Ok(listing)
}

/// An entry that holds files of the directory as they still are.
#[derive(Debug)]
pub(crate) struct Base {
    /// The entry.
    pub(crate) entry: Entry,
    /// Its list, checked.
    pub(crate) listing: Listing,
    /// The stamps of the files that are known to be in it.
    pub(crate) index: Index,
}

impl Base {
    /// Where the entry holds the content of a file that was found, if that is known.
    pub(crate) fn known(&self, found: &Found) -> Option<&FileData> {
        let (stamp, file) = (found.stamp.as_ref()?, found.file()?);
        if self.index.stamp(&found.node.path) != Some(stamp) {
            return None;
        }
        match &self.listing.find(&found.node.path)?.kind {
            NodeKind::File(known) if known.size == file.size => Some(known),
            _ => None,
        }
    }

    /// Whether the directory is just what the entry holds, times of use aside.
    pub(crate) fn is_all(&self, walked: &Walked) -> bool {
        let nodes = &self.listing.nodes;
        nodes.len() == walked.found.len()
            && nodes.iter().zip(&walked.found).all(|(node, found)| match &found.node.kind {
                NodeKind::File(_) => {
                    let mut same = found.node.clone();
                    same.kind = node.kind.clone();
                    same == *node && self.known(found).is_some()
                }
                _ => found.node == *node,
            })
    }
}

/// Why a directory is not saved over what is there of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shrunk {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It has far fewer bytes than before.
    #[error("it has {}, and the last entry {}", format_size(*now, DECIMAL), format_size(*before, DECIMAL))]
    Smaller {
        /// Bytes of its files.
        now: u64,
        /// Bytes of the last entry's.
        before: u64,
    },
}

/// Entries of fewer bytes may shrink to anything.
const SMALL: u64 = 1 << 20;

/// Whether what was found (`None` where no directory is) looks like an accident beside an entry of `before` bytes.
pub(crate) fn shrunk(walked: Option<&Walked>, before: Option<u64>) -> Option<Shrunk> {
    let Some(walked) = walked else { return Some(Shrunk::Missing) };
    if walked.is_empty() {
        return Some(Shrunk::Empty);
    }
    Shrunk::to(walked.bytes(), before)
}

impl Shrunk {
    /// Whether `now` bytes look like an accident beside an entry of `before` bytes.
    pub(crate) fn to(now: u64, before: Option<u64>) -> Option<Self> {
        let before = before.filter(|before| *before > SMALL)?;
        (now < before / 10).then_some(Self::Smaller { now, before })
    }
}

/// An error of the file system at a path of the directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub(crate) struct PlaceError {
    /// A verb.
    pub(crate) action: &'static str,
    /// Where, from the directory on.
    pub(crate) path: String,
    /// Why.
    #[source]
    pub(crate) source: io::Error,
}
