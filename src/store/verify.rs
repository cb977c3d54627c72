//! Verifies that each entry is complete and that every chunk has its digest.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::census::StoreLocation;
use super::manifest::ChunkRef;
use super::parallel::{into_inner, lock};
use super::registration::Registration;
use super::repository::StoreRepository;
use super::{Entry, Store, StoreError, parallel};
use crate::digest::Digest;

#[derive(Debug, Default)]
pub(crate) struct VerifyResult {
    pub(crate) complete_entries: usize,
    pub(crate) broken_entries: Vec<Entry>,
    pub(crate) chunks: usize,
    /// Bytes of the objects of these chunks.
    pub(crate) bytes: u64,
    pub(crate) repaired_chunks: usize,
    pub(crate) faults: Vec<StoreError>,
}

impl Store {
    /// Reads every entry and chunk of `place`, and calls `progress` with the bytes of each chunk, from several threads.
    /// With `repair`, damaged and missing chunks are copied from the other place of the store, and damaged objects and
    /// entries that still lack content are set aside. Otherwise nothing is changed.
    pub(crate) fn verify(
        &self,
        place: StoreLocation,
        repair: bool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<VerifyResult, StoreError> {
        if repair && self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let Some(repository) = self.repository(place) else { return Ok(VerifyResult::default()) };
        let repository = if repair { repository.clone() } else { repository.read_only_view() };
        let other = match place {
            StoreLocation::Local => self.remote.as_ref(),
            StoreLocation::Remote => Some(&self.local),
        };
        let (entries, faults) = repository.entries()?;
        let mut verified = VerifyResult { faults, ..VerifyResult::default() };
        let wanted = needed_chunks(&entries);
        // Sweeps spare the chunks until it is dropped.
        let registration = if repair { Some(Registration::new(&repository)?) } else { None };
        if let Some(registration) = &registration {
            registration.announce(&wanted)?;
        }
        let check = ChunkVerifier { repository: &repository, other: other.filter(|_| repair) };
        let bad = check.verify_all(&wanted, &mut verified, progress);
        for entry in entries {
            if !entry.manifest.chunks.iter().any(|chunk| bad.contains_key(&chunk.digest)) {
                verified.complete_entries += 1;
                continue;
            }
            // A chunk that exists only in the remote is fetched on demand.
            let elsewhere = |digest: &Digest| {
                place == StoreLocation::Local
                    && bad.get(digest) == Some(&ChunkProblem::Missing)
                    && other.is_some_and(|other| {
                        matches!(other.backend.size(&ChunkRef::path(digest)), Ok(Some(_)))
                    })
            };
            let lacks = |chunk: &ChunkRef| bad.contains_key(&chunk.digest) && !elsewhere(&chunk.digest);
            if !entry.manifest.chunks.iter().any(lacks) {
                verified.complete_entries += 1;
                continue;
            }
            if repair {
                verified.faults.extend(repository.backend.set_aside(&entry.path).err().map(StoreError::from));
            }
            verified.broken_entries.push(entry);
        }
        Ok(verified)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkProblem {
    Missing,
    Damaged,
}

struct ChunkVerifier<'a> {
    repository: &'a StoreRepository,
    /// The source of repaired chunks; `None` without repair.
    other: Option<&'a StoreRepository>,
}

impl ChunkVerifier<'_> {
    fn verify_all(
        &self,
        wanted: &[Digest],
        verified: &mut VerifyResult,
        progress: &(dyn Fn(u64) + Sync),
    ) -> HashMap<Digest, ChunkProblem> {
        let (bytes, healed) = (AtomicU64::new(0), AtomicUsize::new(0));
        let bad = Mutex::new(HashMap::new());
        let faults = Mutex::new(Vec::new());
        let check = |digest: &Digest| {
            let found = match self.repository.chunk(digest) {
                Ok(Some(stored)) => {
                    bytes.fetch_add(stored.frame.len() as u64, Ordering::Relaxed);
                    progress(stored.frame.len() as u64);
                    return Ok(());
                }
                Ok(None) => ChunkProblem::Missing,
                Err(fault) => {
                    lock(&faults).push(fault);
                    ChunkProblem::Damaged
                }
            };
            match self.repair_chunk(digest) {
                Ok(true) => {
                    healed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(false) => drop(lock(&bad).insert(*digest, found)),
                Err(fault) => {
                    lock(&faults).push(fault);
                    lock(&bad).insert(*digest, found);
                }
            }
            Ok(())
        };
        let threads = parallel::cores().max(self.repository.backend.parallelism());
        let Ok(()) = parallel::for_each::<_, Infallible>(wanted, threads, check);
        verified.chunks = wanted.len();
        verified.bytes = bytes.into_inner();
        verified.repaired_chunks = healed.into_inner();
        verified.faults.append(&mut lock(&faults));
        into_inner(bad)
    }

    fn repair_chunk(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(stored) = self.other.map(|other| other.chunk(digest)).transpose()?.flatten() else {
            return Ok(false);
        };
        self.repository.put_chunk(digest, &stored.frame).map(|()| true)
    }
}

/// Returns the chunks that entries need, without duplicates.
fn needed_chunks(entries: &[Entry]) -> Vec<Digest> {
    let all: HashSet<Digest> = entries.iter().flat_map(|entry| entry.manifest.chunk_digests()).collect();
    let mut all: Vec<Digest> = all.into_iter().collect();
    all.sort_unstable();
    all
}
