//! Why a mount was not carried.

use super::conversation::ConversationError;
use crate::archive::UnlistedError;
use crate::courier::protocol::Notes;
use crate::store::StoreError;

/// Why a mount was not saved, or not restored, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// The entry's list cannot be read or is refused.
    #[error(transparent)]
    Unlisted(#[from] UnlistedError),
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The builder is at fault.
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// Something could not be made in the mount, and so nothing was.
    #[error("{}; nothing was restored", _0.first.join(", "))]
    NotMade(Box<Notes>),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}
