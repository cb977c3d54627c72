//! Opens directories below a root one name at a time, and never through a link.
//!
//! Everything that is opened here is below the root, even if other processes create links at the same time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use cap_fs_ext::{DirExt, OpenOptionsMaybeDirExt};
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::path;
use crate::context::Stamp;

/// A root, and the open directories on the path that was requested last.
#[derive(Debug)]
pub(super) struct ConfinedRoot {
    root: Dir,
    open: Vec<(OsString, Dir)>,
}

impl ConfinedRoot {
    pub(super) fn new(root: Dir) -> Self {
        Self { root, open: Vec::new() }
    }

    /// Returns the parent directory of `path`, and the last component of `path`.
    pub(super) fn parent<'a, 'p>(&'a mut self, path: &'p OsStr) -> io::Result<(&'a Dir, &'p OsStr)> {
        let (parent, name) = path::split(path);
        Ok((self.directory(parent)?, name))
    }

    /// Opens the directory at `path`; the empty path is the root.
    pub(super) fn directory(&mut self, path: &OsStr) -> io::Result<&Dir> {
        let names = || path::components(path).filter(|name| !name.is_empty());
        let known = self.open.iter().zip(names()).take_while(|((open, _), name)| open == name).count();
        self.open.truncate(known);
        for name in names().skip(known) {
            let last = self.open.last().map_or(&self.root, |(_, directory)| directory);
            let directory = last.open_dir_nofollow(name)?;
            self.open.push((name.to_owned(), directory));
        }
        Ok(self.open.last().map_or(&self.root, |(_, directory)| directory))
    }

    /// Returns the metadata at `path` without following a link, or `None` if the path does not exist.
    pub(super) fn metadata(&mut self, path: &OsStr) -> io::Result<Option<Metadata>> {
        if_present(self.parent(path).and_then(|(parent, name)| parent.symlink_metadata(name)))
    }
}

/// Opens a directory as a file, which can be locked and whose metadata can be set.
pub(super) fn open_as_file(directory: &Dir) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).maybe_dir(true);
    Ok(directory.open_with(".", &options)?.into_std())
}

/// Returns `None` if the path does not exist, or if one of its parents is not a directory (for example a link).
pub(super) fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
                || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Returns the stamp of a regular file.
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        size: metadata.len(),
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}
