//! The build context: what of a directory a build is given to see.
//!
//! ```text
//!  .dockerignore ──ignorefile::parse──▶ patterns ─┐
//!  engine's include and follow lists ─────────────┴▶ Filter ──walk──▶ Entry … ──digest_entries──▶ FileDigest …
//!                                                      ContextPaths ──select──▶ Selected: those that count
//! ```
//!
//! Two readers depend on it. The file-sync sender gives an engine exactly the
//! entries that `docker build` would give it; the cache key digests
//! those of them that a step copies or mounts. So one walk serves both, and it follows moby's `patternmatcher`
//! and BuildKit's `fsutil` to the letter, oddities of theirs included.
//!
//! Invariants:
//!
//! - Entries come in the order that an fsutil receiver demands: depth first,
//!   names of a directory in byte order, parents before children.
//! - No digest depends on time stamps, owners or the order of creation.
//! - A file is not read again only if its stamp proves that it is unchanged.
//! - No content is read through a symbolic link, and no special file is opened.
//! - Patterns are matched in time linear in the path, whatever they hold.
//!
//! Deliberate differences from upstream, none of which a sane context meets:
//!
//! - A malformed pattern is refused at once, not when it is first needed.
//! - What vanishes during the walk does not take its later siblings with it.
//! - Hard links are told apart by device and inode, not by inode alone.
//! - Where a pattern names a directory again behind an exception, upstream lists
//!   a file but refuses to open it, so that the build gets it empty; here it has
//!   its content. A file that may not be read is an error, not an empty file.

pub(crate) mod archive;
mod error;
mod file_digest;
mod filter;
mod follow;
pub(crate) mod glob;
pub(crate) mod hash;
pub mod ignorefile;
mod lexical;
pub(crate) mod patterns;
mod regexp;
pub(crate) mod select;
mod stamp;
pub(crate) mod stat;
mod stat_index;
mod tree;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

pub use error::ContextError;
pub(crate) use file_digest::{FileDigest, FileKind};
pub use filter::Filter;
pub use hash::digest_entries;
pub(crate) use lexical::clean as clean_path;
pub use patterns::{MatchState, PatternError, PatternMatcher};
pub(crate) use select::{Selected, select, walk_selected};
pub(crate) use stamp::Stamp;
pub(crate) use stat::{go_mode, mode_bits, set_xattrs, xattrs};
pub use stat_index::StatIndex;
pub(crate) use tree::Shape;
pub use walk::{Entry, EntryKind, Walk, walk};
