//! Records the files and directories that larder has written for its user, so that they are not inputs of later builds.
//!
//! Each one is appended as a line. The last line of a path is valid as long as the stamp of the path is unchanged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{LAYOUT, Notes, NotesError};
use crate::context::Stamp;
use crate::regular_file;

/// The size in bytes from which on outdated lines are removed.
const TIDY_SIZE: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct ResultEntry {
    path: PathBuf,
    stamp: Vec<u8>,
}

impl Notes {
    /// Records that larder has written `path`. If that is not possible, it is an input like any other file.
    pub(crate) fn note_result(&self, path: &Path) -> Result<(), NotesError> {
        let (Some(stamp), Ok(path)) = (stamp(path), fs::canonicalize(path)) else { return Ok(()) };
        if self.is_read_only || self.results().contains(&path) {
            return Ok(());
        }
        let file = self.results_path();
        self.prepare(&file)?;
        regular_file::append_json(&file, &ResultEntry { path, stamp })
            .map_err(|source| NotesError::Write { path: file, source })?;
        self.tidy_results()
    }

    /// Returns the resolved paths that are unchanged since larder has written them.
    pub(crate) fn results(&self) -> Vec<PathBuf> {
        let noted = Self::read(&self.results_path()).unwrap_or_default();
        let lines = noted.split(|byte| *byte == b'\n');
        let last: BTreeMap<PathBuf, Vec<u8>> = lines
            .filter_map(|line| serde_json::from_slice::<ResultEntry>(line).ok())
            .map(|entry| (entry.path, entry.stamp))
            .collect();
        let unchanged = last.into_iter().filter(|(path, noted)| stamp(path).as_ref() == Some(noted));
        unchanged.map(|(path, _)| path).collect()
    }

    fn tidy_results(&self) -> Result<(), NotesError> {
        let file = self.results_path();
        if Self::read(&file).unwrap_or_default().len() < TIDY_SIZE {
            return Ok(());
        }
        let mut lines = Vec::new();
        for path in self.results() {
            let Some(stamp) = stamp(&path) else { continue };
            let line = serde_json::to_vec(&ResultEntry { path, stamp });
            lines.extend(
                line.map_err(|error| NotesError::Write { path: file.clone(), source: error.into() })?,
            );
            lines.push(b'\n');
        }
        self.write(&file, &lines)
    }

    fn results_path(&self) -> PathBuf {
        self.root.join(LAYOUT).join("results.jsonl")
    }
}

/// Returns the encoded stamp of a file or directory.
fn stamp(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok().filter(|found| found.is_file() || found.is_dir())?;
    let mut bytes = Vec::new();
    Stamp::of(&metadata).encode(&mut bytes);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_results_are_listed() {
        let base = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(base.path()).unwrap();
        let notes = Notes::new(&root.join("cache"));
        let (file, directory) = (root.join("build.json"), root.join("out"));
        fs::write(&file, "{}").unwrap();
        fs::create_dir(&directory).unwrap();
        for path in [&file, &directory, &file, &root.join("gone"), Path::new("/dev/null")] {
            notes.note_result(path).unwrap();
        }
        assert_eq!(notes.results(), [file.clone(), directory.clone()]);
        fs::write(directory.join("a"), "").unwrap();
        fs::write(&file, "the user's").unwrap();
        assert_eq!(notes.results(), std::slice::from_ref(&directory));
        notes.note_result(&file).unwrap();
        assert_eq!(notes.results(), [file.clone(), directory]);
        for number in 0..1000 {
            fs::write(&file, number.to_string()).unwrap();
            notes.note_result(&file).unwrap();
        }
        assert!(fs::metadata(notes.results_path()).unwrap().len() < (TIDY_SIZE as u64) + 1000);
        assert!(notes.results().contains(&file));
    }
}
