//! Digesting the directories that a build reads, with what the stat index knows of them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::witness::Witness;
use crate::context::{self, ContextError, Entry, FileDigest, Filter, StatIndex};
use crate::digest::Digest;
use crate::store::{Store, StoreError};

/// Digests directories and remembers what it saw.
pub(super) struct Files<'a> {
    store: &'a Store,
    pub(super) witness: Witness,
    /// Stat indices that could not be kept.
    pub(super) faults: Vec<StoreError>,
    ambiguous: Vec<u8>,
}

impl<'a> Files<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, witness: Witness::default(), faults: Vec::new(), ambiguous: Vec::new() }
    }

    /// Digests what `select` leaves of the entries of `directory`, sorted by path.
    pub(super) fn digest(
        &mut self,
        directory: &Path,
        filter: Filter,
        select: impl FnOnce(&mut Vec<Entry>),
    ) -> Result<Vec<FileDigest>, ContextError> {
        let began = SystemTime::now();
        let mut entries = context::walk(directory, &filter)?.collect::<Result<Vec<_>, _>>()?;
        select(&mut entries);
        let place = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let index =
            self.store.stat_index(&place).and_then(|bytes| StatIndex::decode(&bytes)).unwrap_or_default();
        let digests = context::digest_entries(&mut entries, &index)?;
        if let Some(learnt) = index.learn(&entries, &digests, began) {
            self.faults.extend(self.store.keep_stat_index(&place, &learnt.encode()).err());
        }
        self.witness.directory(directory, filter, &entries);
        for (entry, file) in entries.iter().zip(&digests) {
            if is_set_back(entry) || file.capabilities.is_some() {
                self.ambiguous.extend_from_slice(file.path.as_bytes());
                self.ambiguous.extend_from_slice(file.digest.as_bytes());
                self.ambiguous.extend(file.capabilities.iter().flat_map(Digest::as_bytes));
            }
        }
        Ok(digests)
    }

    /// Digest of the files that BuildKit could take for unchanged although they are not, if there are any.
    pub(super) fn ambiguous(&self, text: &str) -> Option<Digest> {
        (!self.ambiguous.is_empty()).then(|| Digest::of(&[&self.ambiguous, text.as_bytes()].concat()))
    }
}

/// Whether the file's time is not that of its last change: set by a tool, to whole seconds.
///
/// BuildKit takes a file of the same size and time for the one it already has. An edit that keeps both, as
/// tools that set all times to one value make, must not give the old content the new content's key. The same
/// goes for capabilities, which BuildKit does not compare at all.
fn is_set_back(entry: &Entry) -> bool {
    let metadata = &entry.metadata;
    metadata.is_file() && metadata.mtime_nsec() == 0 && metadata.mtime() != metadata.ctime()
}
