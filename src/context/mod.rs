//! The build context: the part of a directory that a build can see. Never changes the directory.
//!
//! ```text
//!  .dockerignore ──ignorefile::parse──▶ patterns ─┐
//!  engine's include and follow lists ─────────────┴▶ Filter ──walk──▶ Entry … ──digest_entries──▶ FileDigest …
//!                                                      ContextPaths ──select──▶ Selected: entries of the key
//! ```
//!
//! The walk has two users. The file-sync sender sends an engine exactly the entries that `docker build` would send. The
//! cache key contains the digests of the entries that a step copies or mounts. The walk therefore follows moby's
//! `patternmatcher` and BuildKit's `fsutil` exactly, including their oddities.
//!
//! Invariants:
//!
//! - Entries come in the order that an fsutil receiver requires: depth first, the names of a directory in byte order,
//!   parents before children.
//! - No digest depends on time stamps, owners or the order of creation.
//! - Reading a file is skipped only if its stamp proves that the file is unchanged.
//! - No content is read through a symbolic link, and no special file is opened.
//! - Matching a pattern takes time linear in the length of the path.
//!
//! Deliberate differences from upstream, which do not affect usual contexts:
//!
//! - A malformed pattern is an error from the start, not only when it is first needed.
//! - If a file vanishes during the walk, its later siblings are still listed.
//! - Hard links are identified by device and inode, not by inode alone.
//! - If a pattern matches a directory again after an exception, upstream lists a file but refuses to open it, so that
//!   the build gets an empty file. Here, the file has its content.
//! - A file without read permission is an error. Upstream sends an empty file.

pub(crate) mod archive;
mod error;
mod file_digest;
mod filter;
mod follow;
pub(crate) mod glob;
mod hash;
pub mod ignorefile;
mod lexical;
mod patterns;
mod regexp;
pub(crate) mod sealed;
mod select;
mod stamp;
mod stat;
mod stat_index;
mod tree;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use error::ContextError;
pub(crate) use file_digest::{FileDigest, FileKind};
pub use filter::Filter;
pub(crate) use hash::digest_entries;
pub(crate) use lexical::clean as clean_path;
pub use patterns::{MatchState, PatternMatcher};
pub(crate) use select::{SelectedEntries, WalkedContext, select, walk_selected};
pub(crate) use stamp::Stamp;
pub(crate) use stat::{device, go_mode, mode_bits, set_xattrs, xattrs};
pub(crate) use stat_index::StatIndex;
pub(crate) use tree::{Shape, follow, parents};
pub use walk::{ContextEntry, ContextEntryKind, walk};
