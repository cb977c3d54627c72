//! Removes entries, and the chunks that no entry needs any more.
//!
//! 1. List the chunks, the entries and what savers need.
//! 2. Plan which entries to remove, and find the chunks that become unused.
//! 3. Condemn these chunks (see `registration`) and remove the entries.
//! 4. List again, and spare what was announced or saved meanwhile.
//! 5. Remove the rest.
//!
//! Only a saver that needs a chunk that is being removed waits for a sweep. The next sweep removes what an interrupted
//! sweep left behind.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::StoreError;
use super::backend::{BackendError, BackendObject};
use super::manifest::{ChunkRef, EntryName};
use super::parallel::{into_inner, lock};
use super::registration::{announced_chunks, condemn};
use super::repository::StoreRepository;
use super::retention::{self, EvictionCandidate, EvictionCause, StoreLimits};
use super::signature::Trust;
use super::{Address, Entry, EntryKind, parallel};
use crate::digest::Digest;

/// The time limit of a sweep. Savers do not wait longer.
const MAX_DURATION: Duration = Duration::from_secs(45);
/// The percentage of the limit that [`EvictionSelection::OverLimitsWithMargin`] keeps.
const REMAINING_PERCENT: u64 = 90;
/// Bytes of damaged objects that are kept for inspection.
const MAX_DAMAGED_BYTES: u64 = 64 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) enum EvictionSelection<'a> {
    OverLimits(StoreLimits),
    /// The same, but if there are too many bytes, enough entries that the next save need not sweep.
    OverLimitsWithMargin(StoreLimits),
    Ids(&'a [Digest]),
    All,
}

/// An entry that was removed, or would be removed in a dry run.
#[derive(Debug, Clone)]
pub(crate) struct EvictedEntry {
    pub(crate) entry: Entry,
    pub(crate) last_used: Timestamp,
    pub(crate) cause: EvictionCause,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct SweepReport {
    #[serde(skip)]
    pub(crate) evicted: Vec<EvictedEntry>,
    /// Bytes of the removed chunks, including those that were unused before.
    pub(crate) freed_bytes: u64,
    pub(crate) freed_chunks: usize,
    pub(crate) kept_entries: usize,
    pub(crate) kept_bytes: u64,
}

#[derive(Default)]
struct StoreInventory {
    names: HashSet<String>,
    entries: Vec<Entry>,
    unknown_schema_chunks: HashSet<Digest>,
    stored: HashMap<Digest, u64>,
    uses: HashMap<String, Timestamp>,
    superseded: HashSet<Digest>,
}

/// Removes `victims` and all unused chunks; with `dry_run`, only returns what would be removed.
pub(super) fn sweep(
    repository: &StoreRepository,
    victims: EvictionSelection<'_>,
    dry_run: bool,
    now: Timestamp,
) -> Result<SweepReport, StoreError> {
    let inventory = StoreInventory::read(repository)?;
    let going = inventory.select_victims(victims, now);
    let gone: HashSet<usize> = going.iter().map(|(place, _)| *place).collect();
    let mut needed: HashSet<Digest> = announced_chunks(repository)?;
    needed.extend(&inventory.unknown_schema_chunks);
    let kept = inventory.entries.iter().enumerate().filter(|(place, _)| !gone.contains(place));
    let mut kept_entries = 0;
    for (_, entry) in kept {
        kept_entries += 1;
        needed.extend(entry.manifest.chunk_digests());
    }
    let mut condemned: Vec<Digest> =
        inventory.stored.keys().filter(|digest| !needed.contains(*digest)).copied().collect();
    let evicted = going.iter().map(|(place, cause)| inventory.evicted(*place, *cause)).collect();
    let mut swept = SweepReport { evicted, kept_entries, ..SweepReport::default() };
    if !dry_run {
        condemned = inventory.remove(repository, &swept.evicted, condemned)?;
        tidy(repository, &inventory)?;
    }
    let bytes = |digest: &Digest| inventory.stored.get(digest).copied().unwrap_or_default();
    swept.freed_chunks = condemned.len();
    swept.freed_bytes = condemned.iter().map(bytes).sum();
    swept.kept_bytes = inventory.stored.values().sum::<u64>() - swept.freed_bytes;
    Ok(swept)
}

impl StoreInventory {
    fn read(repository: &StoreRepository) -> Result<Self, StoreError> {
        let stored = chunks(repository)?;
        let uses = repository.last_uses()?;
        let mut inventory = Self { stored, uses, ..Self::default() };
        inventory.read_new_entries(repository)?;
        inventory.superseded = superseded(repository, &inventory.entries)?;
        Ok(inventory)
    }

    fn read_new_entries(&mut self, repository: &StoreRepository) -> Result<(), StoreError> {
        let mut names = repository.names("entries")?;
        names.retain(|name| self.names.insert(name.path().to_owned()));
        let found = Mutex::new((Vec::new(), Vec::new()));
        parallel::for_each(&names, repository.backend.parallelism(), |name| {
            // Entries that are not trusted need their chunks as well.
            let read = repository.entry(name, &Trust::default());
            let foreign = match &read {
                Err(StoreError::Newer { .. }) => chunks_of_any_schema(repository, name)?,
                _ => Vec::new(),
            };
            let mut found = lock(&found);
            found.1.extend(foreign);
            match read {
                Ok(entry) => found.0.extend(entry),
                Err(StoreError::Newer { .. } | StoreError::Damaged { .. }) => {}
                Err(fault) => return Err(fault),
            }
            Ok(())
        })?;
        let (mut entries, foreign) = into_inner(found);
        entries.sort_unstable_by(|a: &Entry, b: &Entry| a.path.cmp(&b.path));
        self.entries.append(&mut entries);
        self.unknown_schema_chunks.extend(foreign);
        Ok(())
    }

    fn select_victims(&self, victims: EvictionSelection<'_>, now: Timestamp) -> Vec<(usize, EvictionCause)> {
        let asked =
            |places: Vec<usize>| places.into_iter().map(|place| (place, EvictionCause::Asked)).collect();
        match victims {
            EvictionSelection::All => asked((0..self.entries.len()).collect()),
            EvictionSelection::Ids(ids) => self.with_older_versions(ids),
            EvictionSelection::OverLimits(limits) => self.over_limits(limits, now),
            EvictionSelection::OverLimitsWithMargin(limits) => {
                let going = self.over_limits(limits, now);
                let too_large = going.iter().any(|(_, cause)| *cause == EvictionCause::TooLarge);
                let max_bytes =
                    limits.max_bytes.filter(|_| too_large).map(|limit| limit / 100 * REMAINING_PERCENT);
                max_bytes.map_or(going, |_| self.over_limits(StoreLimits { max_bytes, ..limits }, now))
            }
        }
    }

    fn over_limits(&self, limits: StoreLimits, now: Timestamp) -> Vec<(usize, EvictionCause)> {
        retention::plan(&self.candidates(), &self.stored, limits, now)
    }

    /// Selects the entries with these ids and older versions of them, which would otherwise be found again.
    fn with_older_versions(&self, ids: &[Digest]) -> Vec<(usize, EvictionCause)> {
        let asked: Vec<&Entry> = self.entries.iter().filter(|entry| ids.contains(&entry.id)).collect();
        let replaced = |entry: &Entry| {
            let older = |newer: &&&Entry| entry.name().cmp_age(&newer.name()).is_lt();
            asked.iter().filter(older).any(|newer| newer.manifest.address == entry.manifest.address)
        };
        let cause = |(place, entry): (usize, &Entry)| {
            if ids.contains(&entry.id) {
                Some((place, EvictionCause::Asked))
            } else {
                replaced(entry).then_some((place, EvictionCause::Superseded))
            }
        };
        self.entries.iter().enumerate().filter_map(cause).collect()
    }

    fn candidates(&self) -> Vec<EvictionCandidate> {
        let candidate = |entry: &Entry| EvictionCandidate {
            last_used: entry.last_used(&self.uses),
            is_superseded: self.superseded.contains(&entry.id),
            is_prefix: entry.manifest.address.kind == EntryKind::Prefix,
            chunks: entry.manifest.chunk_digests(),
        };
        self.entries.iter().map(candidate).collect()
    }

    fn evicted(&self, place: usize, cause: EvictionCause) -> EvictedEntry {
        let entry = self.entries[place].clone();
        EvictedEntry { last_used: entry.last_used(&self.uses), entry, cause }
    }

    /// Removes the entries, then the condemned chunks that are still unused; returns the removed chunks.
    fn remove(
        &self,
        repository: &StoreRepository,
        evicted: &[EvictedEntry],
        condemned: Vec<Digest>,
    ) -> Result<Vec<Digest>, StoreError> {
        let start = Instant::now();
        let condemnation = condemn(repository, &condemned)?;
        for EvictedEntry { entry, .. } in evicted {
            repository.remove_entry(&entry.name())?;
        }
        // A saver that ended in between is missing from the announcements, but its entry is in this second listing.
        let mut needed = announced_chunks(repository)?;
        let mut later = Self { names: self.names.clone(), ..Self::default() };
        later.read_new_entries(repository)?;
        needed.extend(later.unknown_schema_chunks);
        needed.extend(later.entries.iter().flat_map(|entry| entry.manifest.chunk_digests()));
        let unneeded: Vec<Digest> = condemned.into_iter().filter(|digest| !needed.contains(digest)).collect();
        let removed = Mutex::new(Vec::new());
        parallel::for_each(&unneeded, repository.backend.parallelism(), |digest| {
            if start.elapsed() < MAX_DURATION {
                repository.backend.remove(&ChunkRef::path(digest))?;
                lock(&removed).push(*digest);
            }
            Ok::<(), BackendError>(())
        })?;
        drop(condemnation);
        Ok(into_inner(removed))
    }
}

/// Returns the entries that newer ones replace. An unsigned entry never replaces a signed one, because jobs that
/// require signatures still use the older one.
fn superseded(repository: &StoreRepository, entries: &[Entry]) -> Result<HashSet<Digest>, StoreError> {
    let mut versions: HashMap<&Address, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        versions.entry(&entry.manifest.address).or_default().push(entry);
    }
    let mut superseded = HashSet::new();
    for mut versions in versions.into_values().filter(|versions| versions.len() > 1) {
        versions.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.manifest.created, entry.id)));
        let mut signed_is_newer = false;
        for (newer, entry) in versions.into_iter().enumerate() {
            let is_signed = repository.is_signed(&entry.name())?;
            if newer > 0 && (signed_is_newer || !is_signed) {
                superseded.insert(entry.id);
            }
            signed_is_newer |= is_signed;
        }
    }
    Ok(superseded)
}

/// Returns all chunks with the sizes of their objects; sets aside other objects among them.
pub(super) fn chunks(repository: &StoreRepository) -> Result<HashMap<Digest, u64>, StoreError> {
    let mut stored = HashMap::new();
    for BackendObject { path, size } in repository.backend.list("chunks")? {
        let hex = path.rsplit('/').next().unwrap_or_default();
        match format!("sha256:{hex}").parse::<Digest>() {
            Ok(digest) if ChunkRef::path(&digest) == path => {
                stored.insert(digest, size);
            }
            _ => drop(repository.set_aside(&path, "it is not a chunk".to_owned())),
        }
    }
    Ok(stored)
}

/// Returns the chunks of an entry whose schema is unknown; their field is the same in every schema.
fn chunks_of_any_schema(repository: &StoreRepository, name: &EntryName) -> Result<Vec<Digest>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Chunks {
        chunks: Vec<ChunkRef>,
    }
    let text =
        repository.backend.read(name.path(), super::repository::MAX_MANIFEST_SIZE)?.unwrap_or_default();
    let (line, _) = Entry::split(&text);
    match serde_json::from_slice::<Chunks>(line) {
        Ok(Chunks { chunks }) => Ok(chunks.into_iter().map(|chunk| chunk.digest).collect()),
        // Nothing may be removed while the chunks that an entry needs are unknown.
        Err(_) => Err(StoreError::Newer {
            path: name.path().to_owned(),
            place: repository.place(),
            schema: "the list of its chunks cannot be read".to_owned(),
        }),
    }
}

/// Removes use records of removed entries, temporary files of dead processes, and old damaged objects.
fn tidy(repository: &StoreRepository, inventory: &StoreInventory) -> Result<(), BackendError> {
    let known: HashSet<String> = inventory.entries.iter().map(Entry::digits).collect();
    for object in repository.backend.list("used")? {
        let id = object.path.split('/').nth(1).unwrap_or_default();
        // The record of an entry that was saved meanwhile is not in the inventory either.
        if !known.contains(id) && inventory.uses.contains_key(id) {
            repository.backend.remove(&object.path)?;
        }
    }
    let damaged = repository.backend.list("damaged")?;
    if damaged.iter().map(|object| object.size).sum::<u64>() > MAX_DAMAGED_BYTES {
        damaged.iter().try_for_each(|object| repository.backend.remove(&object.path))?;
    }
    repository.backend.remove_stale_temporaries()
}
