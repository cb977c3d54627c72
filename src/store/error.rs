//! Errors of a store. They do not fail a build: each one is counted as a miss with its reason.

use std::io;

use humansize::{DECIMAL, format_size};

use super::backend::{BackendError, FaultReason};

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object fails verification. Unless the store is read-only, the object has been moved to `damaged/`.
    #[error("{path} in {place} is damaged: {reason}")]
    Damaged { path: String, place: String, reason: String },
    /// A chunk that an entry needs does not exist.
    #[error("{path}, which entry {entry} needs, is missing in {place}")]
    Missing { path: String, entry: String, place: String },
    /// An entry has a schema that this version does not know.
    #[error("entry {path} in {place} was written by a newer version of larder ({schema})")]
    Newer { path: String, place: String, schema: String },
    /// An entry has no valid signature of a trusted key although one is required.
    #[error("entry {path} in {place} {reason}")]
    Unsigned { path: String, place: String, reason: &'static str },
    /// A sweep of a different job that removes what is needed did not end in time.
    #[error("timed out waiting for a different job that evicts from {place}")]
    Busy { place: String },
    /// The entry alone is larger than the limit of the whole cache.
    #[error(
        "the entry has {}, more than the limit of {} for the whole cache",
        format_size(*bytes, DECIMAL),
        format_size(*limit, DECIMAL)
    )]
    TooLarge {
        /// Bytes that the entry needs, as far as they were counted.
        bytes: u64,
        limit: u64,
    },
    /// Writing would leave less free space on the disk than requested.
    #[error(
        "{place} has {} free, but {} must stay free (--cache-min-free-gb)",
        format_size(*free, DECIMAL),
        format_size(*floor, DECIMAL)
    )]
    NoRoom { place: String, free: u64, floor: u64 },
    #[error("the cache is read-only")]
    ReadOnly,
    /// The consumer of the loaded content failed.
    #[error("cannot process the cached content")]
    Sink(#[source] io::Error),
    /// The machine has no thread or no memory for the work.
    #[error("cannot process chunks")]
    Worker(#[source] io::Error),
}

impl StoreError {
    /// Returns the reason under which the error is counted.
    pub(crate) fn reason(&self) -> FaultReason {
        match self {
            Self::Backend(error) => error.reason,
            Self::Damaged { .. } => FaultReason::Damaged,
            Self::Missing { .. } => FaultReason::Missing,
            Self::Newer { .. } => FaultReason::Newer,
            Self::Unsigned { .. } => FaultReason::Unsigned,
            Self::Busy { .. } => FaultReason::Busy,
            Self::NoRoom { .. } => FaultReason::Full,
            Self::TooLarge { .. } | Self::ReadOnly => FaultReason::Refused,
            Self::Sink(error) | Self::Worker(error) => FaultReason::of(error),
        }
    }
}
