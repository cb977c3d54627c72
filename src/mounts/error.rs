//! The error of saving or restoring a mount.

use super::conversation::ConversationError;
use crate::archive::ListingError;
use crate::courier::protocol::FailureNotes;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error(transparent)]
    Listing(#[from] ListingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    /// Some nodes could not be created in the mount, so none were.
    #[error("{}; nothing was restored", _0.first.join(", "))]
    NotCreated(Box<FailureNotes>),
    #[error("interrupted")]
    Interrupted,
}
