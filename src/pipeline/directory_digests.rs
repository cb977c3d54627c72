//! Digests the files that a build reads from its directories. The stat index is used to skip unchanged files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use super::blocking::blocking;
use super::input_snapshot::InputSnapshot;
use super::undetected_changes::UndetectedState;
use crate::context::{self, ContextError, FileDigest, Filter, StatIndex, WalkedContext};
use crate::dockerfile::ContextPaths;
use crate::notes::{IndexKind, Notes, NotesError};

pub(crate) struct DirectoryDigester<'a> {
    notes: &'a Notes,
    pub(crate) snapshot: InputSnapshot,
    pub(crate) faults: Vec<NotesError>,
    /// Paths that would be inputs if they were not withheld.
    pub(crate) withheld: BTreeSet<String>,
    /// The state of files whose changes BuildKit cannot detect.
    pub(crate) undetected: UndetectedState,
}

#[derive(Debug)]
pub(crate) struct DigestedDirectory {
    walked: WalkedContext,
    /// The digests of the walked entries, under their paths in the directory.
    digests: Vec<FileDigest>,
}

impl DigestedDirectory {
    /// Returns the files under their names in the build.
    pub(crate) fn files(&self) -> Vec<FileDigest> {
        self.walked.selected.renamed(self.digests.clone())
    }

    /// Returns the files that `paths`, a part of the build's paths, select.
    pub(crate) fn select(&self, paths: &ContextPaths) -> Vec<FileDigest> {
        self.walked.select(paths).renamed(self.digests.clone())
    }
}

impl<'a> DirectoryDigester<'a> {
    pub(crate) fn new(notes: &'a Notes) -> Self {
        Self {
            notes,
            snapshot: InputSnapshot::default(),
            faults: Vec::new(),
            withheld: BTreeSet::new(),
            undetected: UndetectedState::default(),
        }
    }

    pub(crate) async fn digest(
        &mut self,
        directory: &Path,
        filter: Filter,
        paths: ContextPaths,
    ) -> Result<DigestedDirectory, ContextError> {
        let work = {
            let (directory, notes) = (directory.to_owned(), self.notes.clone());
            let (filter, paths) = (filter.clone(), paths.clone());
            move || -> Result<_, ContextError> {
                let began = SystemTime::now();
                let mut walked = context::walk_selected(&directory, &filter, &paths)?;
                let place = std::path::absolute(&directory).unwrap_or(directory);
                let index =
                    notes.index(IndexKind::CONTEXT, &place).and_then(|bytes| StatIndex::decode(&bytes));
                let index = index.unwrap_or_default();
                let digests = context::digest_entries(&mut walked.entries, &index)?;
                let learnt = index.updated(&walked.entries, &digests, began);
                let fault = learnt
                    .and_then(|learnt| notes.write_index(IndexKind::CONTEXT, &place, &learnt.encode()).err());
                Ok((walked, digests, fault))
            }
        };
        let (walked, digests, fault) = blocking(work).await?;
        self.faults.extend(fault);
        let WalkedContext { entries, selected, .. } = &walked;
        self.withheld.extend(selected.withheld.iter().cloned());
        self.snapshot.record_directory(directory, filter, paths, entries, selected);
        self.undetected.add(entries, &digests);
        Ok(DigestedDirectory { walked, digests })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::dockerfile::{Dockerfile, Options};

    #[tokio::test]
    async fn a_subset_of_the_paths_selects_the_same_files_as_on_its_own() {
        let (context, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(context.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", context.path().join("link")).unwrap();
        for name in ["real/a", "real/b", "other", "unused"] {
            std::fs::write(context.path().join(name), name).unwrap();
        }
        let paths = |sources: &[&str]| {
            let copies: Vec<String> = sources.iter().map(|source| format!("COPY {source} /")).collect();
            let dockerfile = Dockerfile::parse(&format!("FROM scratch\n{}", copies.join("\n"))).unwrap();
            dockerfile.resolve(&Options::default()).unwrap().context
        };
        let notes = Notes::new(home.path());
        let mut files = DirectoryDigester::new(&notes);
        let mut digested =
            async |paths| files.digest(context.path(), Filter::default(), paths).await.unwrap();
        for part in [&["link/a"][..], &["l*/a"], &["real"], &["other", "link"], &["o*"], &[]] {
            for rest in [&["."][..], &["other", "real/b"], &["link/b"]] {
                let all = digested(paths(&[part, rest].concat())).await;
                let alone = digested(paths(part)).await;
                assert_eq!(all.select(&paths(part)), alone.files(), "{part:?} of {rest:?}");
            }
        }
    }

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
        let mut files = DirectoryDigester::new(&notes);
        let digests = files.digest(context.path(), Filter::default(), ContextPaths::everything()).await;
        let ticks = ticks.load(Ordering::Relaxed);
        ticking.abort();
        assert_eq!(digests.unwrap().files().len(), 8);
        assert!(ticks > 0, "the timer of another task did not tick");
    }
}
