//! Errors of directories.

use super::CommandError;
use crate::error_chain::chain;
use crate::pipeline::dir::error::DirError;

impl From<DirError> for CommandError {
    fn from(error: DirError) -> Self {
        let cause = chain(&error);
        match error {
            DirError::Path(_) => Self::config_line(cause),
            DirError::Cache { .. } => Self::config_line(cause).hint(
                "name a directory of its own for the cache with --cache-dir, or keep a part of this one",
            ),
            DirError::KeyFiles(_) => Self::config_line(cause).hint(
                "names are relative to the working directory; quote a pattern that larder is to expand",
            ),
            DirError::Interrupted(_) => Self::interrupted(&cause),
            DirError::Pipeline(error) => error.into(),
        }
    }
}
