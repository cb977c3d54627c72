//! Records tags that larder was not allowed to delete from a registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LAYOUT, Notes, NotesError};

const SCHEMA: &str = "larder.undeleted.v1";

#[derive(Serialize, Deserialize)]
struct UndeletedEntry {
    schema: String,
    repositories: BTreeMap<String, Vec<String>>,
}

impl Notes {
    /// Returns the tags by repository. Fails if the file cannot be read. A damaged file is moved aside first.
    pub(crate) fn undeleted(&self) -> Result<BTreeMap<String, Vec<String>>, NotesError> {
        let entry = self.entry(&self.undeleted_path(), |entry: &UndeletedEntry| {
            (entry.schema != SCHEMA).then(|| format!("it contains {}", entry.schema))
        })?;
        Ok(entry.map(|entry| entry.repositories).unwrap_or_default())
    }

    /// Replaces the recorded tags of a repository. Fails if the file cannot be read or written. A damaged file is
    /// replaced.
    pub(crate) fn note_undeleted(&self, repository: &str, tags: Vec<String>) -> Result<(), NotesError> {
        let mut repositories = match self.undeleted() {
            Err(NotesError::Damaged { .. }) => BTreeMap::new(),
            known => known?,
        };
        let before = repositories.remove(repository).unwrap_or_default();
        if before == tags {
            return Ok(());
        }
        if !tags.is_empty() {
            repositories.insert(repository.to_owned(), tags);
        }
        self.write_entry(&self.undeleted_path(), &UndeletedEntry { schema: SCHEMA.to_owned(), repositories })
    }

    fn undeleted_path(&self) -> PathBuf {
        self.root.join(LAYOUT).join("undeleted.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_repository_counts() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path());
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        notes.note_undeleted("a", tags(&[])).unwrap();
        assert!(!notes.undeleted_path().exists());
        notes.note_undeleted("a", tags(&["1"])).unwrap();
        notes.note_undeleted("b", tags(&["2"])).unwrap();
        notes.note_undeleted("a", tags(&["3", "4"])).unwrap();
        let expected = [("a".to_owned(), tags(&["3", "4"])), ("b".to_owned(), tags(&["2"]))];
        assert_eq!(notes.undeleted().unwrap(), expected.into());
        notes.note_undeleted("a", tags(&[])).unwrap();
        assert_eq!(notes.undeleted().unwrap().len(), 1);
        std::fs::write(notes.undeleted_path(), "{}").unwrap();
        assert!(matches!(notes.undeleted(), Err(NotesError::Damaged { .. })));
        assert_eq!(notes.undeleted().unwrap(), BTreeMap::new());
    }
}
