//! Notes: files in which larder records builds, images and builders on this machine. They are not shared, and contain
//! no content of images.
//!
//! ```text
//! ~/.cache/larder/            mode 0700
//!   v1/
//!     image/<image key>.json      the images that engines have built for a key (ImageEntry)
//!     builder/<digest of its id>.json      the layers and cache mounts of a builder (BuilderEntry)
//!     inputs/<image key>.jsonl    the inputs of the keys of recent builds (RecordHead, then Inputs)
//!     context/<digest of its path>.index   the stat index of a context, see `context::StatIndex`
//!     dir/<digest of its path>.index       which files of a directory are in an entry, see `archive::Index`
//!     results.jsonl               the files that larder has written for its user, by path and stamp
//!     undeleted.json              the tags that registries do not let larder delete, by repository
//!     secret                      32 random bytes that mark confidential values in the ledger
//!     ledger.jsonl                one line for each build, see `ledger`
//! ```
//!
//! The `store` shares the directory. Files are written atomically: to a temporary name, synced, then renamed. A file
//! that cannot be read is moved to `damaged/`, and is treated as missing.

mod builders;
mod images;
mod inputs;
mod results;
mod secret;
mod stat_indices;
mod undeleted;

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use builders::{BuilderEntry, PrefixBase};
pub(crate) use images::{ImageAge, ImageEntry};
pub(crate) use inputs::{PrefixNote, RecordHead};
pub(crate) use stat_indices::IndexKind;

use crate::regular_file::{self, PRIVATE};

const LAYOUT: &str = "v1";

/// The directory of the cache, which is created on the first write.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    root: PathBuf,
    /// `true` if nothing is written or moved aside.
    is_read_only: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotesError {
    #[error("cannot read the cache at {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write to the cache at {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} was damaged ({reason}) and has been moved to {}", .path.display(), .aside.display())]
    Damaged { path: PathBuf, aside: PathBuf, reason: String },
}

impl Notes {
    /// Opens the cache below `directory`; nothing is created yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { root: directory.to_owned(), is_read_only: false }
    }

    /// Opens the cache below `directory` for reading only; notes are discarded.
    pub(crate) fn read_only(directory: &Path) -> Self {
        Self { root: directory.to_owned(), is_read_only: true }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns the directory with the content of the cache.
    pub(crate) fn content(&self) -> PathBuf {
        self.root.join(LAYOUT)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.root
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.root.join(LAYOUT).join("ledger.jsonl")
    }

    /// Creates the directory of `path`, without access for other users.
    pub(crate) fn prepare(&self, path: &Path) -> Result<(), NotesError> {
        let directory = path.parent().unwrap_or(&self.root);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| NotesError::Write { path: directory.to_owned(), source })
    }

    /// Returns the size of all files of the cache in bytes. Files that are removed meanwhile do not count.
    pub(crate) fn bytes(&self) -> Result<u64, NotesError> {
        let mut bytes = 0;
        for entry in walkdir::WalkDir::new(&self.root) {
            match entry.and_then(|entry| entry.metadata()) {
                Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
                Ok(_) => {}
                Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {}
                Err(error) => {
                    return Err(NotesError::Read { path: self.root.clone(), source: error.into() });
                }
            }
        }
        Ok(bytes)
    }

    /// Reads the JSON file at `path`, if it exists. `mistake` returns what is wrong with its content. A file with a
    /// mistake is moved aside, so that it does not exist afterwards.
    fn entry<T: DeserializeOwned>(
        &self,
        path: &Path,
        mistake: impl FnOnce(&T) -> Option<String>,
    ) -> Result<Option<T>, NotesError> {
        let Some(text) = self.existing(path)? else { return Ok(None) };
        let entry = serde_json::from_slice::<T>(&text).map_err(|error| error.to_string());
        let entry = entry.and_then(|entry| mistake(&entry).map_or(Ok(entry), Err));
        entry.map(Some).map_err(|reason| self.set_aside(path, reason))
    }

    /// Reads the file at `path`, if it exists. Anything but a regular file is moved aside.
    fn existing(&self, path: &Path) -> Result<Option<Vec<u8>>, NotesError> {
        match Self::read(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(self.set_aside(path, error.to_string()))
            }
            Err(source) => Err(NotesError::Read { path: path.to_owned(), source }),
        }
    }

    /// Returns the paths in the directory `name`, which may be missing.
    fn paths_in(&self, name: &str) -> Result<impl Iterator<Item = PathBuf>, NotesError> {
        let path = self.root.join(LAYOUT).join(name);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(|source| NotesError::Read { path, source })?),
        };
        Ok(entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())))
    }

    fn write_entry<T: Serialize>(&self, path: &Path, entry: &T) -> Result<(), NotesError> {
        let text = serde_json::to_vec_pretty(entry)
            .map_err(|error| NotesError::Write { path: path.to_owned(), source: error.into() })?;
        self.write(path, &text)
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        regular_file::open(path)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), NotesError> {
        if self.is_read_only {
            return Ok(());
        }
        self.prepare(path)?;
        regular_file::write(path, content, PRIVATE)
            .map_err(|source| NotesError::Write { path: path.to_owned(), source })
    }

    fn set_aside(&self, path: &Path, reason: String) -> NotesError {
        let name = path.file_name().unwrap_or_default();
        let aside = self.root.join(LAYOUT).join("damaged").join(name);
        if self.is_read_only {
            let source = io::Error::new(io::ErrorKind::InvalidData, reason);
            return NotesError::Read { path: path.to_owned(), source };
        }
        let moved = self.prepare(&aside).and_then(|()| {
            fs::rename(path, &aside).map_err(|source| NotesError::Write { path: path.to_owned(), source })
        });
        match moved {
            Ok(()) => NotesError::Damaged { path: path.to_owned(), aside, reason },
            Err(error) => error,
        }
    }
}

/// Removes the oldest files of a directory beyond the limits, as far as possible. The latest is never removed, whatever
/// its size.
fn remove_oldest(directory: &Path, most: usize, most_bytes: u64) {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    files.sort_unstable();
    let mut bytes = 0;
    for (place, (_, size, path)) in files.iter().rev().enumerate() {
        bytes += size;
        if place >= most || (place > 0 && bytes > most_bytes) {
            let _ = fs::remove_file(path);
        }
    }
}
