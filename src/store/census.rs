//! Lists and counts what a store holds.

use std::collections::HashSet;

use jiff::Timestamp;

use super::repository::StoreRepository;
use super::retention::chunk_users;
use super::{Entry, Store, StoreError, sweep};
use crate::digest::Digest;

/// One of the two places of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLocation {
    /// The store on this machine.
    Local,
    /// The store that machines share.
    Remote,
}

#[derive(Debug, Clone)]
pub struct CensusEntry {
    pub entry: Entry,
    /// When the entry was last used, or saved if it was never used.
    pub(crate) last_used: Timestamp,
    /// Bytes of the objects of its chunks, including shared ones.
    pub(crate) stored_bytes: u64,
    /// Bytes that evicting it alone would free.
    pub(crate) own_bytes: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Census {
    /// The entries, most recently used first.
    pub entries: Vec<CensusEntry>,
    /// Bytes of the objects of all chunks; a shared chunk counts once.
    pub(crate) bytes_stored: u64,
    /// Bytes of the content of all entries, as if nothing were shared or compressed.
    pub(crate) bytes_logical: u64,
    /// Bytes of chunks that no entry needs; the next sweep removes them.
    pub(crate) bytes_unused: u64,
    pub(crate) chunks: usize,
}

impl Store {
    pub(super) fn repository(&self, place: StoreLocation) -> Option<&StoreRepository> {
        match place {
            StoreLocation::Local => Some(&self.local),
            StoreLocation::Remote => self.remote.as_ref(),
        }
    }

    pub(crate) fn place(&self, place: StoreLocation) -> Option<String> {
        self.repository(place).map(StoreRepository::place)
    }

    /// Lists and counts the content of `place`. Entries that cannot be read are left out and returned as faults.
    ///
    /// # Errors
    ///
    /// Fails if the place cannot be listed.
    pub fn census(&self, place: StoreLocation) -> Result<(Census, Vec<StoreError>), StoreError> {
        self.repository(place)
            .map_or_else(|| Ok(Default::default()), |repository| census(&repository.read_only_view()))
    }

    /// Removes entries of `place` and the chunks that no entry needs afterwards. With `dry_run`, only reports them.
    /// Fails if the store is read-only or the backend fails; what was removed before that stays removed.
    pub(crate) fn evict(
        &self,
        place: StoreLocation,
        victims: sweep::EvictionSelection<'_>,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<sweep::SweepReport, StoreError> {
        if self.read_only && !dry_run {
            return Err(StoreError::ReadOnly);
        }
        let swept = self.repository(place).map(|repository| sweep::sweep(repository, victims, dry_run, now));
        swept.unwrap_or_else(|| Ok(sweep::SweepReport::default()))
    }
}

fn census(repository: &StoreRepository) -> Result<(Census, Vec<StoreError>), StoreError> {
    let stored = sweep::chunks(repository)?;
    let last_uses = repository.last_uses()?;
    let (entries, faults) = repository.entries()?;
    let chunks: Vec<HashSet<Digest>> = entries.iter().map(|entry| entry.manifest.chunk_digests()).collect();
    let users = chunk_users(chunks.iter());
    let size = |digest: &Digest| stored.get(digest).copied().unwrap_or_default();
    let listed = |(entry, chunks): (Entry, &HashSet<Digest>)| CensusEntry {
        last_used: entry.last_used(&last_uses),
        stored_bytes: chunks.iter().map(size).sum(),
        own_bytes: chunks.iter().filter(|digest| users[digest] == 1).map(size).sum(),
        entry,
    };
    let bytes_logical = entries.iter().filter_map(|entry| entry.chunk_offsets().pop()).sum();
    let mut entries: Vec<CensusEntry> = entries.into_iter().zip(&chunks).map(listed).collect();
    entries.sort_unstable_by_key(|listed| std::cmp::Reverse((listed.last_used, listed.entry.id)));
    let bytes_stored = stored.values().sum();
    let bytes_unused =
        stored.iter().filter(|(digest, _)| !users.contains_key(digest)).map(|(_, size)| size).sum();
    Ok((Census { entries, bytes_stored, bytes_logical, bytes_unused, chunks: stored.len() }, faults))
}
