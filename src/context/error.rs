//! Errors of walking and digesting a context. Contains no advice on how to fix them.

use std::io;
use std::path::{Path, PathBuf};

use super::patterns::PatternError;

/// An error of reading a build context.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("cannot open the build context {}", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the build context {} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("invalid {list} pattern")]
    Pattern {
        /// `include` or `exclude`.
        list: &'static str,
        #[source]
        source: PatternError,
    },
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} of {path} is not valid UTF-8")]
    NotUtf8 {
        /// `the name` or `the link target`.
        what: &'static str,
        /// The path below the context, with U+FFFD for each invalid byte.
        path: String,
    },
    #[error("{} was removed while the build context was read", path.display())]
    Vanished { path: PathBuf },
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

/// Returns `None` if the file does not exist or no longer exists.
pub(super) fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if is_absent(&error) => Ok(None),
        result => result.map(Some),
    }
}
