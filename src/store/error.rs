//! What goes wrong in a store. None of it may fail a build: each is a counted miss with its reason.

use std::io;

use humansize::{DECIMAL, format_size};

use super::backend::{BackendError, Reason};

/// The store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Where the objects are kept does not do its part.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object is not what was written there; unless the store is read-only it has been moved to `damaged/`.
    #[error("{path} in {place} is damaged: {reason}")]
    Damaged {
        /// The object.
        path: String,
        /// Where the backend is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A chunk that an entry needs is not there.
    #[error("{path}, which entry {entry} needs, is missing in {place}")]
    Missing {
        /// The object.
        path: String,
        /// The short id of the entry.
        entry: String,
        /// Where it was looked for.
        place: String,
    },
    /// A newer larder wrote an entry in a form that this one does not know.
    #[error("entry {path} in {place} is {schema}, which a newer larder wrote")]
    Newer {
        /// The manifest.
        path: String,
        /// Where the backend is.
        place: String,
        /// Its schema.
        schema: String,
    },
    /// An entry is not signed by a key that is trusted, where that is demanded.
    #[error("entry {path} in {place} {reason}")]
    Unsigned {
        /// The manifest.
        path: String,
        /// Where the backend is.
        place: String,
        /// What is wrong with its signature.
        reason: &'static str,
    },
    /// Another job is removing what is needed and does not come to an end.
    #[error("another job that tidies {place} was in the way for too long")]
    Busy {
        /// Where the backend is.
        place: String,
    },
    /// The entry alone is larger than the whole cache may be.
    #[error(
        "{} to keep, more than the limit of {} for the whole cache",
        format_size(*bytes, DECIMAL),
        format_size(*limit, DECIMAL)
    )]
    TooLarge {
        /// Bytes that it takes, as far as it was looked at.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The disk would be left with less room than is to stay free.
    #[error(
        "{place} has {} free, and {} are to stay free (--cache-min-free-gb)",
        format_size(*free, DECIMAL),
        format_size(*floor, DECIMAL)
    )]
    NoRoom {
        /// Where the backend is.
        place: String,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are to stay free.
        floor: u64,
    },
    /// Nothing may be written.
    #[error("the cache is read-only here")]
    ReadOnly,
    /// What was to be done with what was read cannot be done.
    #[error("cannot use what the cache holds")]
    Sink(#[source] io::Error),
    /// The machine cannot do its part: no thread, no memory for compressing.
    #[error("cannot work on chunks")]
    Worker(#[source] io::Error),
}

impl StoreError {
    /// The kind of fault, as it is counted.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Backend(error) => error.reason,
            Self::Damaged { .. } => Reason::Damaged,
            Self::Missing { .. } => Reason::Missing,
            Self::Newer { .. } => Reason::Newer,
            Self::Unsigned { .. } => Reason::Unsigned,
            Self::Busy { .. } => Reason::Busy,
            Self::NoRoom { .. } => Reason::Full,
            Self::TooLarge { .. } | Self::ReadOnly => Reason::Refused,
            Self::Sink(error) | Self::Worker(error) => Reason::of(error),
        }
    }
}
