//! A directory as an entry of the store: saved, and restored where another run wants it.
//!
//! ```text
//!  save:    walk ─▶ trim ─▶ plan (what an earlier entry has already) ─▶ content ─▶ listing
//!  restore: listing ─▶ validate ─▶ compare with what is there ─▶ stage ─▶ install
//! ```
//!
//! An entry's content, from its first byte on:
//!
//! ```text
//!  chunks taken over from an earlier entry | small files, one after the other | large files | listing
//!                                            in the order of their paths        each begins and
//!                                                                               ends a chunk
//! ```
//!
//! Invariants:
//!
//! - No link is followed, neither when saving nor when restoring; nothing outside of the directory is written.
//! - What an entry says is hostile until `validate` has passed all of it.
//! - A restore changes nothing before all content has arrived and was verified.
//! - A file is not read again only if its stamp proves that it is unchanged.

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
pub(crate) use listing::Time;
pub use listing::{FileData, Listing, Node, NodeKind};
pub(crate) use restore::{Options, Pieces, RestoreError, remove_stale, restore};
pub(crate) use save::{CommitError, Destination, SaveError, commit, save, take_over};
pub(crate) use trim::{Bounds, Use, left_out, trim};
#[cfg(test)]
pub(crate) use units::{response, wheel};
pub(crate) use units::{units, whole_units};
pub(crate) use validate::Fault;
pub use validate::{Limits, Refused};
pub(crate) use walk::{Reason, Walked, walk};

/// How the names of directories begin in which a restore stages files; they are never part of an entry.
pub(crate) const STAGING: &str = ".larder-restore-";
