//! Digesting the directories that a build reads, with what the stat index knows of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::unnoticed::Unnoticed;
use super::witness::Witness;
use crate::context::{self, ContextError, FileDigest, Filter, StatIndex};
use crate::dockerfile::ContextPaths;
use crate::notes::{Notes, NotesError};

/// Digests directories and remembers what it saw.
pub(super) struct Files<'a> {
    notes: &'a Notes,
    pub(super) witness: Witness,
    /// Stat indices that could not be kept.
    pub(super) faults: Vec<NotesError>,
    /// What would count if it were not withheld.
    pub(super) withheld: BTreeSet<String>,
    /// What BuildKit could take for unchanged although it is not.
    pub(super) unnoticed: Unnoticed,
}

impl<'a> Files<'a> {
    pub(super) fn new(notes: &'a Notes) -> Self {
        Self {
            notes,
            witness: Witness::default(),
            faults: Vec::new(),
            withheld: BTreeSet::new(),
            unnoticed: Unnoticed::default(),
        }
    }

    /// Digests what counts of `directory` for `paths`, under the names that it counts under.
    pub(super) fn digest(
        &mut self,
        directory: &Path,
        filter: Filter,
        paths: ContextPaths,
    ) -> Result<Vec<FileDigest>, ContextError> {
        let began = SystemTime::now();
        let (mut entries, selected) = context::walk_selected(directory, &filter, &paths)?;
        let place = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let index =
            self.notes.stat_index(&place).and_then(|bytes| StatIndex::decode(&bytes)).unwrap_or_default();
        let digests = context::digest_entries(&mut entries, &index)?;
        if let Some(learnt) = index.learn(&entries, &digests, began) {
            self.faults.extend(self.notes.keep_stat_index(&place, &learnt.encode()).err());
        }
        self.withheld.extend(selected.withheld.iter().cloned());
        self.witness.directory(directory, filter, paths, &entries, &selected);
        self.unnoticed.look_at(&entries, &digests);
        Ok(selected.named(digests))
    }
}
