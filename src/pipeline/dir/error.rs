//! Errors that end the save or restore of a directory without a report.

use std::io;
use std::path::PathBuf;

use super::key_files::KeyFileError;
use crate::pipeline::error::PipelineError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One of the two directories contains the other.
    #[error("{} {relation} the cache directory {}", path.display(), cache.display())]
    ContainsCache { path: PathBuf, relation: &'static str, cache: PathBuf },
    #[error(transparent)]
    KeyFiles(#[from] KeyFileError),
    /// The user interrupted, and the work was undone.
    #[error("interrupted; nothing was {0}")]
    Interrupted(&'static str),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}
