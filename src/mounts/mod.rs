//! Cache mounts that survive their builder: what they are, and carrying their content in and out.
//!
//! ```text
//!  Dockerfile ─▶ identity ─▶ visit: one step with the mounts, and the courier in it ─▶ conversation ─▶ restore ◀─ store
//!                                                                                                   ─▶ save    ─▶
//! ```
//!
//! A cache mount lives in one builder, under a name that BuildKit makes of its
//! options (`identity`). To get at it, larder solves a definition of its own
//! with the very same mounts (`visit`): an otherwise empty file system with the
//! courier in it, which speaks to this process over a forwarded socket
//! (`conversation`). Content streams between there and the store; nothing else
//! is kept on the way.
//!
//! Invariants:
//!
//! - Nothing in a mount is deleted, and a restore is there as a whole or not at all.
//! - What a courier says is hostile, as a builder may be another's: sizes,
//!   counts and paths are checked before they are acted upon.
//! - Good is not replaced by empty, or by far less.

mod auto;
mod conversation;
mod defeat;
mod direct;
mod error;
mod fit;
mod identity;
mod kinds;
mod restore;
mod save;
mod stage;
mod uses;
mod visit;

pub(crate) use auto::{AutoMounts, Surroundings, auto_mounts, has_candidates};
pub use conversation::{Conversation, ConversationError, Found, Taken};
pub(crate) use error::MountError;
pub(crate) use fit::misfit;
pub(crate) use identity::{Mounts, Passed, TargetMount, Variables, mounts};
pub(crate) use kinds::Kind;
pub(crate) use restore::{Present, RestoredMount, restore};
pub(crate) use save::{SaveOutcome, SaveTerms, SavedMount, save};
pub(crate) use stage::{can_be_visited, with_visit};
pub(crate) use uses::Tally;
pub(crate) use visit::{BuildWithin, VisitError, VisitTerms, Within, visit};

#[cfg(test)]
mod tests;
