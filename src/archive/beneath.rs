//! Directories below one directory, opened name by name, never through a link.
//!
//! Whatever others do with links meanwhile, what is opened here is below the
//! directory that was opened first.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use cap_fs_ext::{DirExt, OpenOptionsMaybeDirExt};
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::path;
use crate::context::Stamp;

/// A directory, with those below it that are on the way to the path that was asked for last.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Dir,
    open: Vec<(OsString, Dir)>,
}

impl Beneath {
    pub(super) fn new(root: Dir) -> Self {
        Self { root, open: Vec::new() }
    }

    /// The directory that `path` stands in, and its name there.
    pub(super) fn parent<'a, 'p>(&'a mut self, path: &'p OsStr) -> io::Result<(&'a Dir, &'p OsStr)> {
        let (parent, name) = path::split(path);
        Ok((self.directory(parent)?, name))
    }

    /// The directory at `path`; the empty path is the directory itself.
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

    /// What stands at `path`, a link itself; `None` where nothing does or no directory leads there.
    pub(super) fn look(&mut self, path: &OsStr) -> io::Result<Option<Metadata>> {
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match parent.symlink_metadata(name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open directory in a form that can be locked, and whose metadata can be set.
pub(super) fn readable(directory: &Dir) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).maybe_dir(true);
    Ok(directory.open_with(".", &options)?.into_std())
}

/// Nothing is there, or something that is no directory, a link among them, is on the way.
pub(super) fn is_absent(error: &io::Error) -> bool {
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    is_link || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The stamp of a regular file.
pub(super) fn stamp(metadata: &Metadata) -> Stamp {
    let (modified, changed) =
        ((metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec()));
    Stamp::of_file(metadata.ino(), metadata.len(), metadata.mode(), modified, changed)
}
