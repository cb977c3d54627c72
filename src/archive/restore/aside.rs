//! A directory that is not there yet, or empty: made aside and put into place as one.
//!
//! ```text
//!  missing   <parent>/.larder-restore-<random>      ─▶ renamed to the directory
//!  empty     <directory>/.larder-restore-<random>/… ─▶ what is in it is renamed into the directory
//! ```
//!
//! A restore that is killed before that leaves a directory that is missing or empty, and therefore not used as a whole one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::staging::{lock_new, remove_stale};

/// Permission bits before the process's mask.
const MODE: u32 = 0o777;

/// A directory that is being made; removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct Aside {
    /// Where it is made.
    root: Dir,
    name: String,
    directory: Dir,
    _lock: File,
    /// Where it goes, if it goes there as a whole.
    missing: Option<PathBuf>,
}

impl Aside {
    /// Makes a directory aside for the one at `path`; `None` if something is there that it would be mixed with. The parent
    /// of a missing one has to be there.
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

    /// Moves what was made into place. Returns `false` if another process has made something there meanwhile.
    pub(super) fn put(self) -> io::Result<bool> {
        if let Some(path) = &self.missing {
            let Some(name) = path.file_name() else { return Ok(false) };
            return is_put(self.root.rename(&self.name, &self.root, name));
        }
        for entry in self.directory.entries()? {
            let name = entry?.file_name();
            // A file would replace one of the same name.
            if self.root.symlink_metadata(&name).is_ok() || !self.put_part(&name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put_part(&self, name: &OsStr) -> io::Result<bool> {
        is_put(self.directory.rename(name, &self.root, name))
    }
}

fn is_put(renamed: io::Result<()>) -> io::Result<bool> {
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

impl Drop for Aside {
    fn drop(&mut self) {
        // What stays is removed by the next save or restore.
        let _ = self.root.remove_dir_all(&self.name);
    }
}
