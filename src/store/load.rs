//! Loading an entry's content: chunks are read, unpacked and verified on all cores.
//!
//! What the local store lacks, or has damaged, comes from the remote and stays.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;

use super::backend::Reason;
use super::manifest::{ChunkRef, Entry, Span};
use super::parallel::{lock, unlocked};
use super::registration::Registration;
use super::repository::{LARGEST_MANIFEST, StoredChunk};
use super::{Store, StoreError, parallel};
use crate::digest::Digest;

/// Threads beyond those that compute: they wait for the disk.
const WAITING_THREADS: usize = 2;
/// Each thread holds a chunk and its frame in memory.
const MOST_THREADS: usize = 12;

/// Takes the verified bytes of a chunk by its place in the entry; called from several threads, in no order.
pub(crate) type Sink<'a> = dyn Fn(usize, &[u8]) -> io::Result<()> + Sync + 'a;

impl Store {
    /// Hands the chunks of `entry` at `places` to `sink`; answers the faults that cost nothing but time.
    ///
    /// # Errors
    ///
    /// Fails with the first fault that cannot be healed, and when `sink`
    /// fails. An entry that lacks content then is set aside, so that the next
    /// look does not find it.
    pub(crate) fn load(
        &self,
        entry: &Entry,
        places: &[usize],
        sink: &Sink<'_>,
    ) -> Result<Vec<StoreError>, StoreError> {
        self.loaded(entry, places, |fetch, threads| {
            parallel::each(places, threads, |place| {
                sink(*place, &fetch.chunk(*place)?).map_err(StoreError::Sink)
            })
        })
    }

    /// The same in the order of `places`, for a sink that is a stream.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    pub(crate) fn load_in_order(
        &self,
        entry: &Entry,
        places: &[usize],
        mut sink: impl FnMut(usize, Vec<u8>) -> io::Result<()> + Send,
    ) -> Result<Vec<StoreError>, StoreError> {
        self.loaded(entry, places, |fetch, threads| {
            let take = |place: &usize, chunk| sink(*place, chunk).map_err(StoreError::Sink);
            parallel::each_in_order(places, threads, |place| fetch.chunk(*place), take)
        })
    }

    fn loaded(
        &self,
        entry: &Entry,
        places: &[usize],
        run: impl FnOnce(&Fetch<'_>, usize) -> Result<(), StoreError>,
    ) -> Result<Vec<StoreError>, StoreError> {
        let fetched = self.register_fetches(entry, places)?;
        let fetch = Fetch { store: self, entry, fetched, faults: Mutex::default() };
        let threads = self
            .remote
            .as_ref()
            .map_or(parallel::cores() + WAITING_THREADS, |remote| remote.backend.parallelism());
        match run(&fetch, threads.min(MOST_THREADS)) {
            Err(fault @ (StoreError::Damaged { .. } | StoreError::Missing { .. })) => {
                self.set_aside(entry);
                self.set_damage_aside(entry);
                Err(fault)
            }
            Err(fault) => Err(fault),
            Ok(()) => {
                let mut faults = unlocked(fetch.faults);
                faults.extend(self.adopt(entry).err());
                Ok(faults)
            }
        }
    }

    /// Moves all of an entry's chunks out of the way that are damaged here, so that the next save writes them anew. What
    /// cannot be read or moved is left for then.
    fn set_damage_aside(&self, entry: &Entry) {
        let threads = (parallel::cores() + WAITING_THREADS).min(MOST_THREADS);
        let done = parallel::each::<_, std::convert::Infallible>(&entry.manifest.chunks, threads, |chunk| {
            // Reading one that is damaged moves it.
            drop(self.local.chunk(&chunk.digest));
            Ok(())
        });
        let Ok(()) = done;
    }

    /// Keeps the manifest of an entry that came from the remote.
    fn adopt(&self, entry: &Entry) -> Result<(), StoreError> {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.read_only) else { return Ok(()) };
        if self.local.backend.size(&entry.path)?.is_none()
            && let Some(text) = remote.backend.read(&entry.path, LARGEST_MANIFEST)?
        {
            self.local.put_entry(entry, &text)?;
        }
        Ok(())
    }

    /// The bytes of a range of the content.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    pub(crate) fn read(&self, entry: &Entry, span: Span) -> Result<Vec<u8>, StoreError> {
        let starts = entry.starts();
        let end = span.at.saturating_add(span.size);
        let places: Vec<usize> = (0..entry.manifest.chunks.len())
            .filter(|place| starts[*place] < end && starts[place + 1] > span.at)
            .collect();
        let bytes =
            Mutex::new(vec![0; usize::try_from(span.size).map_err(|_| StoreError::Sink(too_large()))?]);
        self.load(entry, &places, &|place, chunk| {
            let (from, to) = (starts[place].max(span.at), starts[place + 1].min(end));
            let (from_chunk, to_chunk) = (offset(from - starts[place]), offset(to - starts[place]));
            let mut bytes = lock(&bytes);
            bytes[offset(from - span.at)..offset(to - span.at)].copy_from_slice(&chunk[from_chunk..to_chunk]);
            Ok(())
        })?;
        Ok(unlocked(bytes))
    }

    /// Announces what may have to be fetched from the remote, so that what arrives stays.
    fn register_fetches(&self, entry: &Entry, places: &[usize]) -> Result<Option<Registration>, StoreError> {
        if self.remote.is_none() || self.read_only {
            return Ok(None);
        }
        let registration = Registration::new(&self.local)?;
        let wanted: HashSet<Digest> =
            places.iter().map(|place| entry.manifest.chunks[*place].digest).collect();
        registration.announce(&wanted.into_iter().collect::<Vec<_>>())?;
        Ok(Some(registration))
    }
}

/// Where chunks come from.
struct Fetch<'a> {
    store: &'a Store,
    entry: &'a Entry,
    /// Keeps what came from the remote, where it may be kept.
    fetched: Option<Registration>,
    faults: Mutex<Vec<StoreError>>,
}

impl Fetch<'_> {
    fn chunk(&self, place: usize) -> Result<Vec<u8>, StoreError> {
        let ChunkRef { digest, size, .. } = self.entry.manifest.chunks[place];
        let chunk = self.verified(&digest)?;
        if chunk.len() as u64 == u64::from(size) {
            return Ok(chunk);
        }
        Err(StoreError::Damaged {
            path: self.entry.path.clone(),
            place: self.store.local.place(),
            reason: "it tells another size of a chunk".to_owned(),
        })
    }

    fn verified(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let here = self.store.local.chunk(digest);
        let Some(remote) = &self.store.remote else {
            return here?.map(|stored| stored.chunk).ok_or_else(|| self.missing(digest));
        };
        match here {
            Ok(Some(stored)) => return Ok(stored.chunk),
            Ok(None) => {}
            Err(fault) => self.note(fault),
        }
        let StoredChunk { frame, chunk } = remote.chunk(digest)?.ok_or_else(|| self.missing(digest))?;
        let is_full = lock(&self.faults).iter().any(|fault| fault.reason() == Reason::Full);
        if !is_full && let Some(Err(fault)) = self.fetched.as_ref().map(|fetched| fetched.put(digest, &frame))
        {
            self.note(fault);
        }
        Ok(chunk)
    }

    fn note(&self, fault: StoreError) {
        lock(&self.faults).push(fault);
    }

    fn missing(&self, digest: &Digest) -> StoreError {
        let place = self.store.remote.as_ref().unwrap_or(&self.store.local).place();
        StoreError::Missing { path: ChunkRef::path(digest), entry: self.entry.short_id(), place }
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an offset in memory")
}

fn too_large() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}
