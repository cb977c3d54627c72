//! Saves a directory as an entry of the store, and restores it. Never follows links and never writes outside of the
//! directory.
//!
//! ```text
//!  save:    walk ─▶ trim ─▶ plan (which chunks of an earlier entry to reuse) ─▶ content ─▶ listing
//!  restore: listing ─▶ validate ─▶ compare with the directory ─▶ stage ─▶ install
//! ```
//!
//! The content of an entry, from its first byte:
//!
//! ```text
//!  chunks reused from an earlier entry     | small files, one after the other | large files | listing
//!                                            in the order of their paths        each starts and
//!                                                                               ends a chunk
//! ```
//!
//! Invariants:
//!
//! - Neither a save nor a restore follows a link. Nothing outside of the directory is written.
//! - The listing of an entry is untrusted until `validate` has accepted all of it.
//! - A restore changes nothing until all content has arrived and been verified.
//! - Reading a file is skipped only if its stamp proves that it is unchanged.

mod base;
mod beneath;
mod content;
mod index;
pub(crate) mod listing;
pub(crate) mod path;
mod plan;
mod restore;
mod save;
mod trim;
mod units;
pub(crate) mod validate;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub(crate) use base::{Base, Shrunk, UnlistedError, read_listing, shrunk};
pub(crate) use content::SMALL as SMALL_FILE;
pub(crate) use index::Index;
pub(crate) use listing::{FileData, Node, Time};
pub use listing::{Listing, NodeKind};
pub(crate) use restore::{Options, Pieces, RestoreError, remove_stale, restore};
pub(crate) use save::{CommitError, Destination, SaveError, commit, save, take_over};
pub(crate) use trim::{Bounds, Use, nodes_to_trim, trim};
#[cfg(test)]
pub(crate) use units::{response, wheel};
pub(crate) use units::{units, whole_units};
pub(crate) use validate::Fault;
pub use validate::Limits;
pub(crate) use walk::{Reason, Walked, walk};

/// The prefix of the names of staging directories, which are never part of an entry.
pub(crate) const STAGING: &str = ".larder-restore-";
