//! Saves and restores cache mounts, so that they survive their builder.
//!
//! ```text
//!  Dockerfile ─▶ identity ─▶ visit: one step with the mounts and the courier ─▶ conversation ─▶ restore ◀─ store
//!                                                                                            ─▶ save    ─▶
//! ```
//!
//! A cache mount exists in one builder, under a name that BuildKit derives from its options (`identity`). To access it,
//! larder solves a definition with the same mounts (`visit`): an otherwise empty file system with the courier, which
//! communicates with this process over a forwarded socket (`conversation`). Content is streamed between the builder and
//! the store without temporary copies.
//!
//! Invariants:
//!
//! - Nothing in a mount is deleted, and a restore is applied completely or not at all.
//! - The courier is not trusted, because the builder is not: sizes, counts and paths are checked before they are used.
//! - An entry is not replaced by an empty or a far smaller one.

mod access;
mod auto;
mod conversation;
mod direct;
mod error;
mod identity;
mod kinds;
mod report;
mod restore;
mod save;
mod scan;
mod stage;
mod uses;
mod visit;
mod warnings;

pub(crate) use access::access_problem;
pub(crate) use auto::{AutoMountInputs, AutoMounts, auto_mounts, has_candidates};
pub use conversation::{Conversation, ConversationError, ReadEvent};
pub(crate) use error::MountError;
pub(crate) use identity::{Mounts, SkippedMount, TargetMount, Variables, cache_mounts};
pub(crate) use kinds::CacheKind;
pub(crate) use report::{MountAction, MountOutcome, MountReportEntry, MountsReport};
pub(crate) use restore::{ExistingFiles, RestoredMount, restore};
pub(crate) use save::{SaveOutcome, SaveTerms, SavedMount, save};
pub(crate) use scan::{StageScan, scan};
pub(crate) use stage::{can_be_visited, with_scan, with_visit};
pub(crate) use uses::Tally;
pub(crate) use visit::{VisitBuild, VisitError, VisitSolve, VisitTerms, visit, visit_stage};

#[cfg(test)]
mod tests;
