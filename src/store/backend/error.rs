//! Errors of backends.

use std::error::Error;
use std::{fmt, io};

/// An operation on a backend failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path} in {place}")]
pub struct BackendError {
    /// A verb: read, write, write to, list, remove.
    pub(crate) action: &'static str,
    /// The path of the object, or a prefix.
    pub(crate) path: String,
    /// The location of the backend, without credentials.
    pub(crate) place: String,
    /// The kind of the error.
    pub reason: FaultReason,
    /// The cause.
    #[source]
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// The kind of an error, for statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultReason {
    /// No space is left.
    Full,
    /// Access was denied.
    Denied,
    /// The service cannot be reached, or its response is invalid.
    Unreachable,
    /// A deadline passed.
    TimedOut,
    /// The content is not what was written.
    Damaged,
    /// Something that is needed does not exist.
    Missing,
    /// A required signature is missing or invalid.
    Unsigned,
    /// A newer version of larder wrote it.
    Newer,
    /// A different job blocked the operation for too long.
    Busy,
    /// The backend failed before and is not used again.
    GivenUp,
    /// The content is larger than the limit, or the store is read-only.
    Refused,
    /// Any other kind.
    Other,
}

impl FaultReason {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::ConnectionRefused => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde::Serialize::serialize(self, f)
    }
}
