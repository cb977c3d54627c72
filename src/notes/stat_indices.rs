//! The indices of directories on this machine: of contexts (`context::StatIndex`), and of directories that were saved
//! or restored (`archive::Index`).
//!
//! An index only saves time: it is not synced, an unreadable one is treated as missing, and the least recently written
//! ones are removed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{LAYOUT, Notes, NotesError};
use crate::digest::Digest;
use crate::regular_file::{PRIVATE, PendingFile};

/// The maximum number of indices. CI agents that always work in new directories leave indices behind.
const MAX_INDICES: usize = 32;
const CONTEXTS: &str = "context";
const ARCHIVES: &str = "dir";

impl Notes {
    /// Returns the encoded stat index of the absolute path `directory`, if there is one.
    pub(crate) fn stat_index(&self, directory: &Path) -> Option<Vec<u8>> {
        Self::read(&self.index_path(CONTEXTS, directory)).ok()
    }

    pub(crate) fn write_stat_index(&self, directory: &Path, index: &[u8]) -> Result<(), NotesError> {
        self.write_index(CONTEXTS, directory, index)
    }

    /// Returns the encoded archive index of the absolute path `directory`, if there is one.
    pub(crate) fn archive_index(&self, directory: &Path) -> Option<Vec<u8>> {
        Self::read(&self.index_path(ARCHIVES, directory)).ok()
    }

    pub(crate) fn write_archive_index(&self, directory: &Path, index: &[u8]) -> Result<(), NotesError> {
        self.write_index(ARCHIVES, directory, index)
    }

    fn write_index(&self, kind: &str, directory: &Path, index: &[u8]) -> Result<(), NotesError> {
        if self.is_read_only {
            return Ok(());
        }
        let path = self.index_path(kind, directory);
        self.prepare(&path)?;
        let place = path.parent().unwrap_or(&self.root);
        let write = || {
            let mut file = PendingFile::create(&path, PRIVATE)?;
            file.write_all(index)?;
            file.replace()?;
            make_room(place)
        };
        write().map_err(|source| NotesError::Write { path: path.clone(), source })
    }

    fn index_path(&self, kind: &str, directory: &Path) -> PathBuf {
        let name = Digest::of(directory.as_os_str().as_encoded_bytes()).hex();
        self.root.join(LAYOUT).join(kind).join(format!("{name}.index"))
    }
}

fn make_room(place: &Path) -> std::io::Result<()> {
    let mut indices = Vec::new();
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        // A file that another process removed meanwhile is ignored.
        if let Ok(metadata) = entry.metadata() {
            indices.push((metadata.modified()?, entry.path()));
        }
    }
    indices.sort_unstable();
    for (_, path) in indices.iter().rev().skip(MAX_INDICES) {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_has_an_index_and_the_oldest_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let notes = Notes::new(base.path());
        let directory = |number: usize| PathBuf::from(format!("/contexts/{number}"));
        assert_eq!(notes.stat_index(&directory(0)), None);
        for number in 0..MAX_INDICES + 3 {
            notes.write_stat_index(&directory(number), &[u8::try_from(number).unwrap()]).unwrap();
            let path = notes.index_path(CONTEXTS, &directory(number));
            let time = filetime::FileTime::from_unix_time(1_000 + i64::try_from(number).unwrap(), 0);
            filetime::set_file_mtime(path, time).unwrap();
        }
        let kept: Vec<usize> =
            (0..MAX_INDICES + 3).filter(|number| notes.stat_index(&directory(*number)).is_some()).collect();
        assert_eq!(kept, (3..MAX_INDICES + 3).collect::<Vec<_>>());
        assert_eq!(notes.stat_index(&directory(5)), Some(vec![5]));
    }
}
