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
mod confined_root;
mod content;
mod index;
pub(crate) mod listing;
pub(crate) mod path;
mod restore;
mod reuse_plan;
mod save;
mod trim;
mod units;
pub(crate) mod validate;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

pub(crate) use base::{BaseEntry, ListingError, ShrinkReason, check_shrink, read_listing};
pub(crate) use content::SMALL as SMALL_FILE;
pub(crate) use index::DirectoryIndex;
pub(crate) use listing::{FileData, Node, NodeTime};
pub use listing::{Listing, NodeKind};
pub(crate) use restore::{FileRanges, RestoreError, RestoreOptions, remove_stale, restore};
pub(crate) use save::{CommitError, DirectoryDestination, SaveError, commit, reuse_chunks, save};
pub(crate) use trim::{FileUsage, TrimLimits, nodes_to_trim, trim};
pub(crate) use units::{complete_units, units};
#[cfg(test)]
pub(crate) use units::{pip_response_path, pip_wheel_directory};
pub(crate) use validate::ListingFault;
pub use validate::ListingLimits;
pub(crate) use walk::{LeftOutReason, WalkedDirectory, walk};

/// The prefix of the names of staging directories, which are never part of an entry.
pub(crate) const STAGING: &str = ".larder-restore-";
