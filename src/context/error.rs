//! What can go wrong while a context is walked or digested.

use std::io;
use std::path::{Path, PathBuf};

use super::patterns::PatternError;

/// A context that cannot be walked or digested.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The context directory does not exist or cannot be resolved.
    #[error("cannot open the build context {}", path.display())]
    Root {
        /// The directory as it was named.
        path: PathBuf,
        /// Why it cannot be resolved.
        #[source]
        source: io::Error,
    },
    /// The context is something else than a directory.
    #[error("the build context {} is not a directory", path.display())]
    NotADirectory {
        /// The context as it was named.
        path: PathBuf,
    },
    /// A pattern of the include or exclude list is malformed.
    #[error("invalid {list} pattern")]
    Pattern {
        /// `include` or `exclude`.
        list: &'static str,
        /// The pattern and its fault.
        #[source]
        source: PatternError,
    },
    /// Something in the context that the build would see cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: io::Error,
    },
    /// A name or link target is not UTF-8, so no engine could be told of it.
    #[error("{what} of {path} is not valid UTF-8")]
    NotUtf8 {
        /// `the name` or `the link target`.
        what: &'static str,
        /// The path below the context, each invalid byte as U+FFFD.
        path: String,
    },
    /// A file was there when the context was walked and is gone now.
    #[error("{} vanished while it was read", path.display())]
    Vanished {
        /// Where it was.
        path: PathBuf,
    },
    /// A file is no longer the one that the walk saw.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// Where it is.
        path: PathBuf,
    },
}

impl ContextError {
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }
}

/// Whether `error` only says that there is no such file (any more).
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
