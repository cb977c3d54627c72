//! Errors of directories.

use super::CommandError;
use crate::error_chain::chain;
use crate::pipeline::dir::DirError;

impl From<DirError> for CommandError {
    fn from(error: DirError) -> Self {
        let cause = chain(&error);
        match error {
            DirError::Io(_) => Self::config_line(cause),
            DirError::ContainsCache { .. } => Self::config_line(cause)
                .hint("use --cache-dir with a directory outside this one, or save a part of this one"),
            DirError::KeyFiles(_) => Self::config_line(cause).hint(
                "paths are relative to the working directory; quote patterns so that larder expands them",
            ),
            DirError::Interrupted(_) => Self::interrupted(&cause),
            DirError::Pipeline(error) => error.into(),
        }
    }
}
