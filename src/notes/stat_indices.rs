//! The indices of directories on this machine: of contexts (`context::StatIndex`), and of directories that were saved
//! or restored (`archive::Index`).
//!
//! An index only saves time: it is not synced, an unreadable one is treated as missing, and the least recently written
//! ones are removed.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{LAYOUT, Notes, NotesError, remove_oldest};
use crate::digest::Digest;
use crate::regular_file::{PRIVATE, PendingFile};

/// The maximum number of indices. CI agents that always work in new directories leave indices behind.
const MAX_INDICES: usize = 32;

/// The kind of an index; its value is the name of the directory.
#[derive(Clone, Copy)]
pub(crate) struct IndexKind(&'static str);

impl IndexKind {
    pub(crate) const CONTEXT: Self = Self("context");
    pub(crate) const ARCHIVE: Self = Self("dir");
}

impl Notes {
    /// Returns the encoded index of the absolute path `directory`, if there is one.
    pub(crate) fn index(&self, kind: IndexKind, directory: &Path) -> Option<Vec<u8>> {
        Self::read(&self.index_path(kind, directory)).ok()
    }

    pub(crate) fn write_index(
        &self,
        kind: IndexKind,
        directory: &Path,
        index: &[u8],
    ) -> Result<(), NotesError> {
        if self.is_read_only {
            return Ok(());
        }
        let path = self.index_path(kind, directory);
        self.prepare(&path)?;
        let write = || {
            let mut file = PendingFile::create(&path, PRIVATE)?;
            file.write_all(index)?;
            file.replace()
        };
        write().map_err(|source| NotesError::Write { path: path.clone(), source })?;
        remove_oldest(path.parent().unwrap_or(&self.root), MAX_INDICES, u64::MAX);
        Ok(())
    }

    fn index_path(&self, kind: IndexKind, directory: &Path) -> PathBuf {
        let name = Digest::of(directory.as_os_str().as_encoded_bytes()).hex();
        self.root.join(LAYOUT).join(kind.0).join(format!("{name}.index"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_has_an_index_and_the_oldest_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let notes = Notes::new(base.path());
        let directory = |number: usize| PathBuf::from(format!("/contexts/{number}"));
        assert_eq!(notes.index(IndexKind::CONTEXT, &directory(0)), None);
        for number in 0..MAX_INDICES + 3 {
            notes
                .write_index(IndexKind::CONTEXT, &directory(number), &[u8::try_from(number).unwrap()])
                .unwrap();
            let path = notes.index_path(IndexKind::CONTEXT, &directory(number));
            let time = filetime::FileTime::from_unix_time(1_000 + i64::try_from(number).unwrap(), 0);
            filetime::set_file_mtime(path, time).unwrap();
        }
        let kept: Vec<usize> = (0..MAX_INDICES + 3)
            .filter(|number| notes.index(IndexKind::CONTEXT, &directory(*number)).is_some())
            .collect();
        assert_eq!(kept, (3..MAX_INDICES + 3).collect::<Vec<_>>());
        assert_eq!(notes.index(IndexKind::CONTEXT, &directory(5)), Some(vec![5]));
    }
}
