//! Replaces directories that cannot be used. In containers that run as an arbitrary user, the home directory may be
//! read-only or missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use tempfile::TempDir;

use super::Settings;
use crate::error_chain::chain;
use crate::notes::NotesError;

/// Directories for temporary files if TMPDIR cannot be used.
const TEMPORARY_DIRECTORIES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
const WRITABLE: Access = Access::READ_OK.union(Access::WRITE_OK).union(Access::EXEC_OK);
const READABLE: Access = Access::READ_OK.union(Access::EXEC_OK);

impl Settings {
    /// Replaces directories that are not writable, and adds warnings. The cache directory is replaced by the returned
    /// temporary directory if it is not readable, or if there is a remote store.
    pub(crate) fn replace_unusable_directories(&mut self) -> Option<TempDir> {
        self.warnings.extend(replace_temporary_directory(&self.job.cache_dir));
        let content = self.job.notes().content();
        let fault = check_writable(&content).err()?;
        let source = std::io::Error::from(fault);
        self.job.cache_fault = Some(Arc::new(NotesError::Write { path: self.job.cache_dir.clone(), source }));
        if access(&content, READABLE).is_ok() && self.job.store.remote.is_none() {
            return None;
        }
        let temporary = TempDir::with_prefix("larder-cache-").ok()?;
        temporary.path().clone_into(&mut self.job.cache_dir);
        Some(temporary)
    }
}

/// Chooses a different directory for temporary files if the system's is not writable, and returns a warning.
fn replace_temporary_directory(cache: &Path) -> Option<String> {
    let usual = std::env::temp_dir();
    let fault = access(&usual, WRITABLE).err()?;
    let other =
        TEMPORARY_DIRECTORIES.map(PathBuf::from).into_iter().chain([cache.to_owned(), PathBuf::from(".")]);
    let other = other.into_iter().find(|place| access(place, WRITABLE).is_ok())?;
    let warning = format!(
        "cannot write to the directory for temporary files, {}: {}; using {} (set TMPDIR to choose a different one)",
        usual.display(),
        chain(&std::io::Error::from(fault)),
        other.display()
    );
    // This fails only if an override was set before, and there is no other call.
    drop(tempfile::env::override_temp_dir(&other));
    Some(warning)
}

fn check_writable(directory: &Path) -> Result<(), Errno> {
    for place in directory.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        match access(place, WRITABLE) {
            // A dangling symbolic link cannot be replaced by a directory.
            Err(Errno::NOENT) if place.symlink_metadata().is_err() => {}
            checked => return checked,
        }
    }
    Err(Errno::NOENT)
}
