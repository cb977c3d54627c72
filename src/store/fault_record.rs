//! Faults of the cache in reports.

use serde::Serialize;

use super::StoreError;
use crate::error_chain::chain;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultRecord {
    /// The kind, as counted.
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<&StoreError> for FaultRecord {
    fn from(fault: &StoreError) -> Self {
        Self { reason: fault.reason().to_string(), message: chain(fault) }
    }
}
