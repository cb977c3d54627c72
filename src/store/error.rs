//! Errors of a store. They do not fail a build: each one is counted as a miss with its reason.

use std::io;

use humansize::{DECIMAL, format_size};

use super::backend::{BackendError, FaultReason};
use crate::error_chain::chain;

/// A fault of the cache in reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FaultRecord {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<&StoreError> for FaultRecord {
    fn from(fault: &StoreError) -> Self {
        Self { reason: fault.reason().to_string(), message: chain(fault) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An object fails verification. Unless the store is read-only, the object has been moved to `damaged/`.
    #[error("{path} in {place} is damaged: {reason}")]
    Damaged { path: String, place: String, reason: String },
    #[error("{path}, which entry {entry} needs, is missing in {place}")]
    Missing { path: String, entry: String, place: String },
    #[error("entry {path} in {place} was written by a newer version of larder ({schema})")]
    Newer { path: String, place: String, schema: String },
    #[error("entry {path} in {place} {reason}")]
    Unsigned { path: String, place: String, reason: &'static str },
    #[error("timed out waiting for a different job that evicts from {place}")]
    Busy { place: String },
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
    #[error(
        "{place} has {} free, but {} must stay free (--cache-min-free-gb)",
        format_size(*free, DECIMAL),
        format_size(*floor, DECIMAL)
    )]
    NoRoom { place: String, free: u64, floor: u64 },
    #[error("the cache is read-only")]
    ReadOnly,
    #[error("cannot process the cached content")]
    Sink(#[source] io::Error),
    #[error("cannot process chunks")]
    Worker(#[source] io::Error),
}

impl StoreError {
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
