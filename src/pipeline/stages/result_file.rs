//! Writes result files for later steps of a CI pipeline: `--iidfile`, `--metadata-file`.
//!
//! They are checked before the build, so that a long build does not fail at its end because a directory is missing.
//! They are also removed before the build, so that a failed build does not leave a file of an earlier run.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use crate::pipeline::error::{PipelineError, Result};

/// Checks that a file can be written later, and removes the file of an earlier run. Fails if it is the Dockerfile.
pub(super) fn prepare(flag: &'static str, path: &Path, dockerfile: Option<&Path>) -> Result<()> {
    let place = |path: &Path| path.canonicalize().ok();
    if dockerfile.and_then(place).is_some_and(|dockerfile| place(path) == Some(dockerfile)) {
        return Err(PipelineError::ResultIsDockerfile { flag, path: path.to_owned() });
    }
    let is_device = path.metadata().is_ok_and(|metadata| !metadata.is_file());
    let cleared = OpenOptions::new().append(true).create(true).open(path);
    let cleared = cleared.and_then(|_| if is_device { Ok(()) } else { std::fs::remove_file(path) });
    cleared.map_err(|error| PipelineError::ResultFile {
        flag,
        path: path.to_owned(),
        source: Arc::new(error),
    })
}

pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(path, content)
        .map_err(|error| PipelineError::Result { path: path.to_owned(), source: Arc::new(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_earlier_run_are_removed_but_not_devices_or_the_dockerfile() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (file, dockerfile) = (at("iid"), at("Dockerfile"));
        std::fs::write(&dockerfile, "FROM scratch\n").unwrap();
        let clear = |flag: &'static str, path: &Path| super::prepare(flag, path, Some(&dockerfile));
        std::fs::write(&file, "sha256:old").unwrap();
        clear("iidfile", &file).unwrap();
        assert!(!file.exists());
        clear("iidfile", Path::new("/dev/null")).unwrap();
        assert!(Path::new("/dev/null").exists());
        let error = clear("iidfile", &directory.path().join("none/iid")).unwrap_err();
        assert!(
            error.to_string().starts_with("--iidfile: cannot write ") && error.is_before_build(),
            "{error}"
        );
        let error = clear("metadata-file", &at("./Dockerfile")).unwrap_err();
        assert!(error.to_string().ends_with("is the Dockerfile") && dockerfile.exists(), "{error}");
    }
}
