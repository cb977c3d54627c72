//! Removing entries, and the chunks that none needs any more.
//!
//! 1. look: chunks, entries, what savers need;
//! 2. plan: which entries go, which chunks are left without a user;
//! 3. condemn those chunks (see `registration`), remove the entries;
//! 4. look again: what was announced or saved meanwhile is spared;
//! 5. remove the rest.
//!
//! Nobody waits for a sweep but a saver that needs a chunk which is just being
//! removed. A sweep that dies leaves chunks behind that the next one removes.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::StoreError;
use super::backend::{BackendError, Object};
use super::manifest::{ChunkRef, EntryName};
use super::parallel::{lock, unlocked};
use super::registration::{Condemnation, announced};
use super::repository::Repository;
use super::retention::{self, Candidate, Cause, Limits};
use super::signature::Trust;
use super::{Address, Entry, parallel};
use crate::digest::Digest;

/// After this long a sweep gives up: a saver that waits for it would think that it is dead.
const LONGEST: Duration = Duration::from_secs(45);
/// Hundredths of the limit that are left where there was too much.
const LEFT: u64 = 90;
/// Bytes of damaged objects that are kept for who wants to look at them.
const DAMAGED_KEPT: u64 = 64 << 20;

/// Which entries are to go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Victims<'a> {
    /// What is beyond the limits.
    Beyond(Limits),
    /// The same, and where all take too many bytes so much that the next save need not sweep.
    BeyondWithRoom(Limits),
    /// These.
    Ids(&'a [Digest]),
    /// All.
    All,
}

/// An entry that goes, or has gone.
#[derive(Debug, Clone)]
pub(crate) struct Evicted {
    /// The entry.
    pub(crate) entry: Entry,
    /// When it was used last.
    pub(crate) last_used: Timestamp,
    /// Why it goes.
    pub(crate) cause: Cause,
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// The entries that go.
    pub(crate) evicted: Vec<Evicted>,
    /// Bytes of the chunks that go, those that nobody needed before among them.
    pub(crate) freed_bytes: u64,
    /// Chunks that go.
    pub(crate) freed_chunks: usize,
    /// Entries that stay.
    pub(crate) kept_entries: usize,
    /// Bytes of the chunks that stay.
    pub(crate) kept_bytes: u64,
}

/// What is in a repository, as one look found it.
#[derive(Default)]
struct Inventory {
    names: HashSet<String>,
    entries: Vec<Entry>,
    /// Chunks of entries that this larder cannot use.
    foreign: HashSet<Digest>,
    stored: HashMap<Digest, u64>,
    uses: HashMap<String, Timestamp>,
    /// Entries that newer ones have replaced.
    superseded: HashSet<Digest>,
}

/// Removes `victims` and what nobody needs; with `dry_run` only says what would go.
pub(super) fn sweep(
    repository: &Repository,
    victims: Victims<'_>,
    dry_run: bool,
    now: Timestamp,
) -> Result<Swept, StoreError> {
    let inventory = Inventory::take(repository)?;
    let going = inventory.choose(victims, now);
    let gone: HashSet<usize> = going.iter().map(|(place, _)| *place).collect();
    let mut needed: HashSet<Digest> = announced(repository)?;
    needed.extend(&inventory.foreign);
    let kept = inventory.entries.iter().enumerate().filter(|(place, _)| !gone.contains(place));
    let mut kept_entries = 0;
    for (_, entry) in kept {
        kept_entries += 1;
        needed.extend(entry.manifest.chunks.iter().map(|chunk| chunk.digest));
    }
    let mut condemned: Vec<Digest> =
        inventory.stored.keys().filter(|digest| !needed.contains(*digest)).copied().collect();
    let evicted = going.iter().map(|(place, cause)| inventory.evicted(*place, *cause)).collect();
    let mut swept = Swept { evicted, kept_entries, ..Swept::default() };
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

impl Inventory {
    fn take(repository: &Repository) -> Result<Self, StoreError> {
        let stored = chunks(repository)?;
        let uses = repository.last_uses()?;
        let mut inventory = Self { stored, uses, ..Self::default() };
        inventory.look_again(repository)?;
        inventory.superseded = superseded(repository, &inventory.entries)?;
        Ok(inventory)
    }

    /// Reads the entries that were not there before.
    fn look_again(&mut self, repository: &Repository) -> Result<(), StoreError> {
        let mut names = repository.names("entries")?;
        names.retain(|name| self.names.insert(name.path().to_owned()));
        let found = Mutex::new((Vec::new(), Vec::new()));
        parallel::each(&names, repository.backend.parallelism(), |name| {
            // Whose word counts is not the question here: what is there needs its chunks.
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
        let (mut entries, foreign) = unlocked(found);
        entries.sort_unstable_by(|a: &Entry, b: &Entry| a.path.cmp(&b.path));
        self.entries.append(&mut entries);
        self.foreign.extend(foreign);
        Ok(())
    }

    fn choose(&self, victims: Victims<'_>, now: Timestamp) -> Vec<(usize, Cause)> {
        let asked = |places: Vec<usize>| places.into_iter().map(|place| (place, Cause::Asked)).collect();
        match victims {
            Victims::All => asked((0..self.entries.len()).collect()),
            Victims::Ids(ids) => self.with_older_versions(ids),
            Victims::Beyond(limits) => self.beyond(limits, now),
            Victims::BeyondWithRoom(limits) => {
                let going = self.beyond(limits, now);
                let too_large = going.iter().any(|(_, cause)| *cause == Cause::TooLarge);
                let max_bytes = limits.max_bytes.filter(|_| too_large).map(|limit| limit / 100 * LEFT);
                max_bytes.map_or(going, |_| self.beyond(Limits { max_bytes, ..limits }, now))
            }
        }
    }

    fn beyond(&self, limits: Limits, now: Timestamp) -> Vec<(usize, Cause)> {
        retention::plan(&self.candidates(), &self.stored, limits, now)
    }

    /// The entries of these ids, and what they have replaced: it must not come back.
    fn with_older_versions(&self, ids: &[Digest]) -> Vec<(usize, Cause)> {
        let asked: Vec<&Entry> = self.entries.iter().filter(|entry| ids.contains(&entry.id)).collect();
        let replaced = |entry: &Entry| {
            let older = |newer: &&&Entry| entry.name().cmp_age(&newer.name()).is_lt();
            asked.iter().filter(older).any(|newer| newer.manifest.address == entry.manifest.address)
        };
        let cause = |(place, entry): (usize, &Entry)| {
            if ids.contains(&entry.id) {
                Some((place, Cause::Asked))
            } else {
                replaced(entry).then_some((place, Cause::Superseded))
            }
        };
        self.entries.iter().enumerate().filter_map(cause).collect()
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |entry: &Entry| Candidate {
            last_used: self.last_used(entry),
            superseded: self.superseded.contains(&entry.id),
            chunks: entry.manifest.chunks.iter().map(|chunk| chunk.digest).collect(),
        };
        self.entries.iter().map(candidate).collect()
    }

    fn last_used(&self, entry: &Entry) -> Timestamp {
        let used = self.uses.get(&entry.digits()).copied();
        used.map_or(entry.manifest.created, |used| used.max(entry.manifest.created))
    }

    fn evicted(&self, place: usize, cause: Cause) -> Evicted {
        let entry = self.entries[place].clone();
        Evicted { last_used: self.last_used(&entry), entry, cause }
    }

    /// Removes entries, then as many of the condemned chunks as nobody needs after all; answers which.
    fn remove(
        &self,
        repository: &Repository,
        evicted: &[Evicted],
        condemned: Vec<Digest>,
    ) -> Result<Vec<Digest>, StoreError> {
        let start = Instant::now();
        let condemnation = Condemnation::new(repository, &condemned)?;
        for Evicted { entry, .. } in evicted {
            repository.remove_entry(&entry.name())?;
        }
        // A saver that has ended meanwhile is in the second look if it is not in the first.
        let mut needed = announced(repository)?;
        let mut later = Self { names: self.names.clone(), ..Self::default() };
        later.look_again(repository)?;
        needed.extend(later.foreign);
        needed
            .extend(later.entries.iter().flat_map(|entry| &entry.manifest.chunks).map(|chunk| chunk.digest));
        let unneeded: Vec<Digest> = condemned.into_iter().filter(|digest| !needed.contains(digest)).collect();
        let removed = Mutex::new(Vec::new());
        parallel::each(&unneeded, repository.backend.parallelism(), |digest| {
            if start.elapsed() < LONGEST {
                repository.backend.remove(&ChunkRef::path(digest))?;
                lock(&removed).push(*digest);
            }
            Ok::<(), BackendError>(())
        })?;
        drop(condemnation);
        Ok(unlocked(removed))
    }
}

/// The entries that newer ones have replaced. What is not signed replaces nothing that is: who demands signatures still
/// needs the older one.
fn superseded(repository: &Repository, entries: &[Entry]) -> Result<HashSet<Digest>, StoreError> {
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

/// The chunks that are there, and the bytes that each takes; what has no business among them is set aside.
pub(super) fn chunks(repository: &Repository) -> Result<HashMap<Digest, u64>, StoreError> {
    let mut stored = HashMap::new();
    for Object { path, size } in repository.backend.list("chunks")? {
        let hex = path.rsplit('/').next().unwrap_or_default();
        match format!("sha256:{hex}").parse::<Digest>() {
            Ok(digest) if ChunkRef::path(&digest) == path => {
                stored.insert(digest, size);
            }
            _ => drop(repository.set_aside(&path, "it is no chunk".to_owned())),
        }
    }
    Ok(stored)
}

/// The chunks of an entry whose schema is unknown: they stand where they always stand.
fn chunks_of_any_schema(repository: &Repository, name: &EntryName) -> Result<Vec<Digest>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Chunks {
        chunks: Vec<ChunkRef>,
    }
    let text = repository.backend.read(name.path(), super::repository::LARGEST_MANIFEST)?.unwrap_or_default();
    let (line, _) = Entry::split(&text);
    match serde_json::from_slice::<Chunks>(line) {
        Ok(Chunks { chunks }) => Ok(chunks.into_iter().map(|chunk| chunk.digest).collect()),
        // Who cannot tell what an entry needs must not remove anything.
        Err(_) => Err(StoreError::Newer {
            path: name.path().to_owned(),
            place: repository.place(),
            schema: "of a form in which its chunks cannot be found".to_owned(),
        }),
    }
}

/// Removes what belongs to nothing: marks of use, what dead processes were writing, old damage.
fn tidy(repository: &Repository, inventory: &Inventory) -> Result<(), BackendError> {
    let known: HashSet<String> = inventory.entries.iter().map(Entry::digits).collect();
    for object in repository.backend.list("used")? {
        let id = object.path.split('/').nth(1).unwrap_or_default();
        // An entry that was saved meanwhile is not in the inventory: its mark is young.
        if !known.contains(id) && inventory.uses.contains_key(id) {
            repository.backend.remove(&object.path)?;
        }
    }
    let damaged = repository.backend.list("damaged")?;
    if damaged.iter().map(|object| object.size).sum::<u64>() > DAMAGED_KEPT {
        damaged.iter().try_for_each(|object| repository.backend.remove(&object.path))?;
    }
    repository.backend.tidy()
}
