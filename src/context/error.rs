//! Errors of walking and digesting a context. Contains no advice on how to fix them.

use std::io;
use std::path::{Path, PathBuf};

use super::patterns::PatternError;

/// An error of reading a build context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context directory does not exist or cannot be resolved.
    #[error("cannot open the build context {}", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the build context {} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    /// A pattern of the include or exclude list is malformed.
    #[error("invalid {list} pattern")]
    Pattern {
        /// `include` or `exclude`.
        list: &'static str,
        #[source]
        source: PatternError,
    },
    /// An entry that the build can see cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A name or link target is not UTF-8 and therefore cannot be sent to an engine.
    #[error("{what} of {path} is not valid UTF-8")]
    NotUtf8 {
        /// `the name` or `the link target`.
        what: &'static str,
        /// The path below the context, with U+FFFD for each invalid byte.
        path: String,
    },
    /// A file was removed between the walk and the read.
    #[error("{} was removed while the build context was read", path.display())]
    Vanished { path: PathBuf },
    /// A file changed between the walk and the read.
    #[error("{} changed while the build context was read", path.display())]
    Changed { path: PathBuf },
}

impl ContextError {
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }
}

/// Returns `true` if `error` means that the file does not exist or no longer exists.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
