//! Restores an entry into a mount: sends files that are missing or different, and must not remove any. The restore is
//! applied completely or not at all.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::conversation::{Conversation, ConversationError, MountListing};
use super::error::MountError;
use crate::archive::{FileRanges, Listing, Node, NodeKind, read_listing};
use crate::courier::protocol::{FailureNotes, Owner};
use crate::store::{Entry, Meter, Store, StoreError};

/// How a file of the mount that differs from the entry is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExistingFiles {
    Replace,
    /// It is not changed, because the origin of the mount may be newer than the entry.
    Keep,
}

#[derive(Debug)]
pub(crate) struct RestoredMount {
    /// Files and links that were sent.
    pub(crate) sent_files: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) was_empty: bool,
    pub(crate) root: Owner,
    pub(crate) notes: FailureNotes,
    pub(crate) faults: Vec<StoreError>,
}

/// Restores `entry`, and resets the access times of all files of the mount. Fails if the store or the builder fails, or
/// if a node cannot be created. In these cases, the mount is unchanged.
pub(crate) fn restore(
    store: &Store,
    entry: &Entry,
    present: ExistingFiles,
    mut conversation: Conversation,
    meter: &Meter,
) -> Result<RestoredMount, MountError> {
    let listing = read_listing(store, entry, true)?;
    let found = conversation.list()?;
    let needed = missing_nodes(&listing, &found, present);
    let pieces = FileRanges::new(&listing, &needed, &entry.chunk_offsets());
    meter.set_total(pieces.bytes);
    let wanted = || listing.nodes.iter().enumerate().filter(|(place, _)| needed[*place]);
    let sent_files = wanted().filter(|(_, node)| node.kind != NodeKind::Directory).count() as u64;
    // Nodes without bytes come first, with directories before their content.
    for (place, node) in wanted() {
        if !matches!(&node.kind, NodeKind::File(file) if file.stored_bytes().unwrap_or_default() > 0) {
            conversation.request_node(number(place)?, node)?;
        }
    }
    let sending =
        Mutex::new(SharedConversation { conversation, announced: vec![false; listing.nodes.len()] });
    let faults = store.load(entry, &pieces.chunks, &|chunk, bytes| {
        meter.check()?;
        let mut sending = sending.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, piece) in pieces.in_chunk(chunk) {
            let end = start + usize::try_from(piece.size).map_err(io::Error::other)?;
            sending.send(&listing.nodes[piece.node], piece.node, piece.offset, &bytes[start..end])?;
        }
        drop(sending);
        meter.add(pieces.bytes_of(chunk));
        Ok(())
    })?;
    let mut conversation = sending.into_inner().unwrap_or_else(PoisonError::into_inner).conversation;
    let (_, failures) = conversation.finish()?;
    conversation.close()?;
    if failures.count > 0 {
        return Err(MountError::NotCreated(Box::new(failures)));
    }
    Ok(RestoredMount {
        sent_files,
        sent_bytes: pieces.bytes,
        was_empty: found.listing.nodes.is_empty(),
        root: found.root,
        notes: found.notes,
        faults,
    })
}

struct SharedConversation {
    conversation: Conversation,
    announced: Vec<bool>,
}

impl SharedConversation {
    fn send(&mut self, node: &Node, place: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let number = number(place).map_err(io::Error::other)?;
        if !std::mem::replace(&mut self.announced[place], true) {
            self.conversation.request_node(number, node).map_err(io::Error::other)?;
        }
        self.conversation.send_piece(number, offset, bytes).map_err(io::Error::other)
    }
}

fn number(place: usize) -> Result<u32, ConversationError> {
    u32::try_from(place).map_err(|_| ConversationError::Refused("the entry has too many files".to_owned()))
}

/// Returns, for each node of an entry, `true` if the mount has no such node or a different one.
fn missing_nodes(listing: &Listing, found: &MountListing, present: ExistingFiles) -> Vec<bool> {
    let there: HashMap<&OsStr, &Node> =
        found.listing.nodes.iter().map(|node| (node.path.as_os_str(), node)).collect();
    let is_there = |node: &Node| {
        let Some(other) = there.get(node.path.as_os_str()) else { return false };
        match (&node.kind, &other.kind) {
            _ if present == ExistingFiles::Keep => true,
            // Changes of the mode or owner of a directory are not reverted.
            (NodeKind::Directory, NodeKind::Directory) => true,
            (NodeKind::File(wanted), NodeKind::File(file)) => {
                wanted.size == file.size
                    && (node.mtime, node.mode, node.uid, node.gid)
                        == (other.mtime, other.mode, other.uid, other.gid)
            }
            (wanted, kind) => wanted == kind,
        }
    };
    let mut needed: Vec<bool> = listing.nodes.iter().map(|node| !is_there(node)).collect();
    if present == ExistingFiles::Keep {
        // A node cannot be created below an existing path that is not a directory.
        let is_blocked = |node: &Node| {
            let above = Path::new(&node.path).ancestors().skip(1);
            let mut known = above.filter_map(|path| there.get(path.as_os_str()));
            known.any(|other| other.kind != NodeKind::Directory)
        };
        for (needed, node) in needed.iter_mut().zip(&listing.nodes) {
            *needed = *needed && !is_blocked(node);
        }
    }
    needed
}
