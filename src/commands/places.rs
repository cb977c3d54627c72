//! The directories that a command writes to, replaced where they cannot be used: in a container with any user, a home that is
//! read-only, or none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::error_chain::chain;
use crate::notes::NotesError;
use crate::output::Printer;
use crate::settings::Settings;

/// Where temporary files go if TMPDIR cannot be used.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
const WRITABLE: Access = Access::READ_OK.union(Access::WRITE_OK).union(Access::EXEC_OK);
const READABLE: Access = Access::READ_OK.union(Access::EXEC_OK);

/// Chooses another directory for temporary files if the system's cannot be written.
fn choose_temporary(cache: &Path, printer: Printer) {
    let usual = std::env::temp_dir();
    let Err(fault) = access(&usual, WRITABLE) else { return };
    let other = TEMPORARY.map(PathBuf::from).into_iter().chain([cache.to_owned(), PathBuf::from(".")]);
    let Some(other) = other.into_iter().find(|place| access(place, WRITABLE).is_ok()) else { return };
    printer.warn(&format!(
        "cannot write to the directory for temporary files, {}: {}; using {} (TMPDIR names another one)",
        usual.display(),
        reason(fault),
        other.display()
    ));
    // Nothing has asked for one so far.
    drop(tempfile::env::override_temp_dir(&other));
}

/// Chooses another directory for temporary files if need be, and notes in the settings that the cache's directory cannot be
/// written. A cache directory that cannot be read either, or that has a remote store, is replaced by the temporary directory
/// that this returns.
pub(super) fn make_do(settings: &mut Settings, printer: Printer) -> Option<TempDir> {
    choose_temporary(&settings.job.cache_dir, printer);
    let content = settings.job.notes().content();
    let fault = access_nearest(&content).err()?;
    let source = std::io::Error::from(fault);
    settings.job.cache_fault =
        Some(Arc::new(NotesError::Write { path: settings.job.cache_dir.clone(), source }));
    if access(&content, READABLE).is_ok() && settings.job.store.remote.is_none() {
        return None;
    }
    let temporary = TempDir::with_prefix("larder-cache-").ok()?;
    temporary.path().clone_into(&mut settings.job.cache_dir);
    Some(temporary)
}

/// Checks that a directory can be written or, where it does not exist, created.
fn access_nearest(directory: &Path) -> Result<(), Errno> {
    for place in directory.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        match access(place, WRITABLE) {
            // A link that leads nowhere is not created anew.
            Err(Errno::NOENT) if place.symlink_metadata().is_err() => {}
            checked => return checked,
        }
    }
    Err(Errno::NOENT)
}

fn reason(fault: Errno) -> String {
    chain(&std::io::Error::from(fault))
}
