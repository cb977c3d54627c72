//! A fault of the cache, as reports have it.

use serde::Serialize;

/// A fault of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultRecord {
    /// Its kind, as it is counted.
    pub(crate) reason: String,
    /// What happened.
    pub(crate) message: String,
}
