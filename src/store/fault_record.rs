//! Faults of the cache in reports.

use serde::Serialize;

/// A fault of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultRecord {
    /// The kind, as counted.
    pub(crate) reason: String,
    pub(crate) message: String,
}
