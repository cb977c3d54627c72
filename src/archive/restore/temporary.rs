//! Restores a missing or empty directory in a temporary one, and moves the complete content into place at once.
//!
//! ```text
//!  missing   <parent>/.larder-restore-<random>      ─▶ renamed to the directory
//!  empty     <directory>/.larder-restore-<random>/… ─▶ its content is moved into the directory
//! ```
//!
//! An interrupted restore leaves the directory missing or empty, so that it is not mistaken for a complete one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::staging::{lock_new, remove_stale};

/// The permission bits of a created directory, before the umask is applied.
const MODE: u32 = 0o777;

/// A temporary directory, which is removed with its content when dropped.
#[derive(Debug)]
pub(super) struct TemporaryDestination {
    /// The parent of the temporary directory.
    root: Dir,
    name: String,
    directory: Dir,
    _lock: File,
    /// The path of the destination, if it does not exist yet.
    missing: Option<PathBuf>,
}

impl TemporaryDestination {
    /// Creates a temporary directory for a restore into `path`. Returns `None` if the directory at `path` is not empty.
    /// The parent of a missing directory must exist.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let is_missing = match path.symlink_metadata() {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let beside = if is_missing { parent.unwrap_or(Path::new(".")) } else { path };
        let root = Dir::open_ambient_dir(beside, ambient_authority())?;
        remove_stale(&root)?;
        if !is_missing && root.entries()?.next().is_some() {
            return Ok(None);
        }
        let (name, directory, lock) = lock_new(&root, MODE)?;
        let missing = is_missing.then(|| path.to_owned());
        Ok(Some(Self { root, name, directory, _lock: lock, missing }))
    }

    pub(super) fn directory(&self) -> io::Result<Dir> {
        self.directory.try_clone()
    }

    /// Moves the content into place. Returns `false` if another process has created a file or directory there
    /// meanwhile.
    pub(super) fn move_into_place(self) -> io::Result<bool> {
        if let Some(path) = &self.missing {
            let Some(name) = path.file_name() else { return Ok(false) };
            return is_moved(self.root.rename(&self.name, &self.root, name));
        }
        for entry in self.directory.entries()? {
            let name = entry?.file_name();
            // Renaming a file would replace one of the same name.
            if self.root.symlink_metadata(&name).is_ok() || !self.move_entry(&name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn move_entry(&self, name: &OsStr) -> io::Result<bool> {
        is_moved(self.directory.rename(name, &self.root, name))
    }
}

fn is_moved(renamed: io::Result<()>) -> io::Result<bool> {
    match renamed {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

impl Drop for TemporaryDestination {
    fn drop(&mut self) {
        // If this fails, the next save or restore removes the directory.
        let _ = self.root.remove_dir_all(&self.name);
    }
}
