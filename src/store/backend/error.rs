//! What goes wrong between a store and where its objects are kept.

use std::error::Error;
use std::{fmt, io};

/// An operation on a backend failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path} in {place}")]
pub struct BackendError {
    /// A verb: read, write, write to, list, remove.
    pub action: &'static str,
    /// The object or prefix.
    pub path: String,
    /// Where the backend is, without credentials.
    pub place: String,
    /// What kind of fault it is.
    pub reason: Reason,
    /// The fault itself.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The kind of a fault, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There is no room left.
    Full,
    /// It is not allowed.
    Denied,
    /// It does not answer, or not sensibly.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It holds something that nobody wrote that way.
    Damaged,
    /// Something that should be there is not.
    Missing,
    /// It is not signed by whom it should be.
    Unsigned,
    /// A newer larder wrote it.
    Newer,
    /// Another job was in the way for too long.
    Busy,
    /// It did not answer or refused before, and was not asked again.
    GivenUp,
    /// It may not be kept: it is larger than the limit, or nothing may be written.
    Refused,
    /// Anything else.
    Other,
}

impl Reason {
    /// The kind of an error of the system.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Unsigned => "unsigned",
            Self::Newer => "newer",
            Self::Busy => "busy",
            Self::GivenUp => "given-up",
            Self::Refused => "refused",
            Self::Other => "other",
        })
    }
}
