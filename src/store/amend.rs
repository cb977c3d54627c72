//! Saying more of an entry whose content stays: a version of it with another description.

use std::time::Duration;

use super::manifest::{Entry, Manifest, Subject};
use super::{Address, Saved, Store, StoreError};

/// What a version is younger than the one that it replaces: the least that names tell apart.
const MOMENT: Duration = Duration::from_millis(1);

impl Store {
    /// Saves the content of `entry` in this job's lane under another description, without reading it. It stays as
    /// old as it is. `None` when a part of it has gone meanwhile.
    ///
    /// # Errors
    ///
    /// Fails when the store does; then all is as it was.
    pub fn amend(&self, entry: &Entry, subject: Subject) -> Result<Option<Saved>, StoreError> {
        let Manifest { address, created, listing, added_bytes, chunks, .. } = &entry.manifest;
        let Address { kind, family, key, .. } = address;
        let mut save = self.save(*kind, family, *key)?;
        if save.reuse(chunks)?.is_none() {
            return Ok(None);
        }
        let created = created.saturating_add(MOMENT).unwrap_or(*created);
        save.commit_as(subject, *listing, created, *added_bytes).map(Some)
    }
}
