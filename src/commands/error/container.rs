//! Errors of containers.

use super::{CommandError, ErrorKind};
use crate::error_chain::chain;
use crate::pipeline::container::ContainerError;

/// The exit code for errors of the engine or of the container's options.
const EXIT_NOT_STARTED: u8 = 125;
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

impl From<ContainerError> for CommandError {
    fn from(error: ContainerError) -> Self {
        let cause = chain(&error);
        if let ContainerError::OutputLost(_) = error {
            return Self::build(cause)
                .hint("the container was stopped; free disk space, or redirect its output");
        }
        let status = status_of(&cause);
        let hint = match status {
            EXIT_NOT_FOUND => {
                "use a program that the image contains; --entrypoint replaces the image's entrypoint"
            }
            EXIT_NOT_EXECUTABLE => "the program must be a file that the container's user may execute",
            _ => "larder run --help lists the options of a container",
        };
        Self::new(ErrorKind::Container(status), cause).hint(hint)
    }
}

/// Returns docker run's exit code for this error, which is determined by its message (`runStartContainerErr` of
/// docker/cli).
fn status_of(error: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|words| error.contains(words));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        EXIT_NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        EXIT_NOT_EXECUTABLE
    } else {
        EXIT_NOT_STARTED
    }
}
