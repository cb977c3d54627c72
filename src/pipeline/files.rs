//! Digests the directories that a build reads, with the help of the stat index.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::blocking::blocking;
use super::unnoticed::Unnoticed;
use super::witness::Witness;
use crate::context::{self, ContextError, FileDigest, Filter, StatIndex};
use crate::dockerfile::ContextPaths;
use crate::notes::{Notes, NotesError};

/// Digests directories and remembers their state.
pub(crate) struct Files<'a> {
    notes: &'a Notes,
    pub(crate) witness: Witness,
    pub(crate) faults: Vec<NotesError>,
    /// Paths that would count if they were not withheld.
    pub(crate) withheld: BTreeSet<String>,
    /// Files that BuildKit could take for unchanged.
    pub(crate) unnoticed: Unnoticed,
}

impl<'a> Files<'a> {
    pub(crate) fn new(notes: &'a Notes) -> Self {
        Self {
            notes,
            witness: Witness::default(),
            faults: Vec::new(),
            withheld: BTreeSet::new(),
            unnoticed: Unnoticed::default(),
        }
    }

    /// Digests the files of `directory` that `paths` select, under their names in the build.
    pub(crate) async fn digest(
        &mut self,
        directory: &Path,
        filter: Filter,
        paths: ContextPaths,
    ) -> Result<Vec<FileDigest>, ContextError> {
        let work = {
            let (directory, notes) = (directory.to_owned(), self.notes.clone());
            let (filter, paths) = (filter.clone(), paths.clone());
            move || -> Result<_, ContextError> {
                let began = SystemTime::now();
                let (mut entries, selected) = context::walk_selected(&directory, &filter, &paths)?;
                let place = std::path::absolute(&directory).unwrap_or(directory);
                let index = notes.stat_index(&place).and_then(|bytes| StatIndex::decode(&bytes));
                let index = index.unwrap_or_default();
                let digests = context::digest_entries(&mut entries, &index)?;
                let learnt = index.learn(&entries, &digests, began);
                let fault = learnt.and_then(|learnt| notes.keep_stat_index(&place, &learnt.encode()).err());
                Ok((entries, selected, digests, fault))
            }
        };
        let (entries, selected, digests, fault) = blocking(work).await?;
        self.faults.extend(fault);
        self.withheld.extend(selected.withheld.iter().cloned());
        self.witness.directory(directory, filter, paths, &entries, &selected);
        self.unnoticed.add(&entries, &digests);
        Ok(selected.named(digests))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn other_tasks_run_while_a_large_context_is_digested() {
        let (context, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..8 {
            std::fs::File::create(context.path().join(number.to_string())).unwrap().set_len(8 << 20).unwrap();
        }
        let ticks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ticks);
        let ticking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let notes = Notes::new(home.path());
        let mut files = Files::new(&notes);
        let digests = files.digest(context.path(), Filter::default(), ContextPaths::everything()).await;
        let ticks = ticks.load(Ordering::Relaxed);
        ticking.abort();
        assert_eq!(digests.unwrap().len(), 8);
        assert!(ticks > 0, "the timer of another task did not tick");
    }
}
