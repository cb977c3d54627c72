//! Restores a missing or empty directory in a temporary one, and moves the complete content into place at once.
//!
//! ```text
//!  missing   <parent>/.larder-restore-<random>      ─▶ renamed to the directory
//!  empty     <directory>/.larder-restore-<random>/… ─▶ its content is moved into the directory
//! ```
//!
//! An interrupted restore leaves the directory missing or empty, so that it is not mistaken for a complete one.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::staging::{LockedDirectory, remove_stale};

/// The permission bits of a created directory, before the umask is applied.
const MODE: u32 = 0o777;

#[derive(Debug)]
pub(super) struct TemporaryDestination {
    temporary: LockedDirectory,
    /// The path of the destination, if it does not exist yet.
    missing: Option<PathBuf>,
}

impl TemporaryDestination {
    /// Creates a temporary directory for a restore into `path`. Returns `None` if the directory at `path` is not empty.
    /// The parent of a missing directory must exist.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        let is_missing = match path.symlink_metadata() {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let beside = if is_missing { parent.unwrap_or(Path::new(".")) } else { path };
        let root = Dir::open_ambient_dir(beside, ambient_authority())?;
        remove_stale(&root)?;
        if !is_missing && root.entries()?.next().is_some() {
            return Ok(None);
        }
        let temporary = LockedDirectory::new(&root, MODE)?;
        Ok(Some(Self { temporary, missing: is_missing.then(|| path.to_owned()) }))
    }

    pub(super) fn directory(&self) -> io::Result<Dir> {
        self.temporary.directory.try_clone()
    }

    /// Moves the content into place. Returns `false` if another process has created a file or directory there
    /// meanwhile.
    pub(super) fn move_into_place(self) -> io::Result<bool> {
        let LockedDirectory { root, name, directory, .. } = &self.temporary;
        if let Some(path) = &self.missing {
            let Some(end) = path.file_name() else { return Ok(false) };
            return is_moved(root.rename(name, root, end));
        }
        for entry in directory.entries()? {
            let name = entry?.file_name();
            // Renaming a file would replace one of the same name.
            if root.symlink_metadata(&name).is_ok() || !is_moved(directory.rename(&name, root, &name))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_moved(renamed: io::Result<()>) -> io::Result<bool> {
    match renamed {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}
