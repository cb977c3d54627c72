//! Loads the content of entries: chunks are read, unpacked and verified on all cores.
//!
//! Chunks that are missing or damaged in the local store are read from the remote and then stored locally.

use std::collections::HashSet;
use std::io;
use std::sync::Mutex;

use super::backend::FaultReason;
use super::manifest::{ChunkRef, ContentRange, Entry};
use super::parallel::{into_inner, lock};
use super::registration::Registration;
use super::repository::{MAX_MANIFEST_SIZE, StoredChunk};
use super::{Store, StoreError, parallel};
use crate::digest::Digest;

const MAX_THREADS: usize = 12;

/// A callback that receives the index of a chunk in the entry and its verified bytes. It is called from several
/// threads, in any order.
pub(crate) type Sink<'a> = dyn Fn(usize, &[u8]) -> io::Result<()> + Sync + 'a;

impl Store {
    /// Passes the chunks of `entry` at the indices `places` to `sink`. Returns faults that were recovered from. Fails
    /// with the first fault that cannot be recovered from, and if `sink` fails. An entry with missing or damaged
    /// content is set aside, so that the next search does not find it.
    pub(crate) fn load(
        &self,
        entry: &Entry,
        places: &[usize],
        sink: &Sink<'_>,
    ) -> Result<Vec<StoreError>, StoreError> {
        self.load_with(entry, places, |fetch, threads| {
            parallel::for_each(places, threads, |place| {
                sink(*place, &fetch.chunk(*place)?).map_err(StoreError::Sink)
            })
        })
    }

    /// Does the same as [`Store::load`], but calls `sink` in the order of `places`.
    pub(crate) fn load_in_order(
        &self,
        entry: &Entry,
        places: &[usize],
        mut sink: impl FnMut(usize, Vec<u8>) -> io::Result<()> + Send,
    ) -> Result<Vec<StoreError>, StoreError> {
        self.load_with(entry, places, |fetch, threads| {
            let take = |place: &usize, chunk| sink(*place, chunk).map_err(StoreError::Sink);
            parallel::for_each_in_order(places, threads, |place| fetch.chunk(*place), take)
        })
    }

    fn load_with(
        &self,
        entry: &Entry,
        places: &[usize],
        run: impl FnOnce(&ChunkFetcher<'_>, usize) -> Result<(), StoreError>,
    ) -> Result<Vec<StoreError>, StoreError> {
        let fetched = self.register_fetches(entry, places)?;
        let fetch = ChunkFetcher { store: self, entry, fetched, faults: Mutex::default() };
        let threads = match &self.remote {
            Some(remote) => remote.backend.parallelism().min(MAX_THREADS),
            None => parallel::chunk_threads(MAX_THREADS),
        };
        match run(&fetch, threads) {
            Err(fault @ (StoreError::Damaged { .. } | StoreError::Missing { .. })) => {
                self.set_aside(entry);
                self.set_damaged_chunks_aside(entry);
                Err(fault)
            }
            Err(fault) => Err(fault),
            Ok(()) => {
                let mut faults = into_inner(fetch.faults);
                faults.extend(self.store_manifest_locally(entry).err());
                Ok(faults)
            }
        }
    }

    /// Sets aside all damaged local chunks of an entry, so that the next save writes them again. Chunks that cannot be
    /// read or moved are left in place.
    fn set_damaged_chunks_aside(&self, entry: &Entry) {
        let threads = parallel::chunk_threads(MAX_THREADS);
        let done =
            parallel::for_each::<_, std::convert::Infallible>(&entry.manifest.chunks, threads, |chunk| {
                // Reading a damaged chunk sets it aside.
                drop(self.local.chunk(&chunk.digest));
                Ok(())
            });
        let Ok(()) = done;
    }

    fn store_manifest_locally(&self, entry: &Entry) -> Result<(), StoreError> {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.read_only) else { return Ok(()) };
        if self.local.backend.size(&entry.path)?.is_none()
            && let Some(text) = remote.backend.read(&entry.path, MAX_MANIFEST_SIZE)?
        {
            self.local.put_entry(entry, &text)?;
        }
        Ok(())
    }

    pub(crate) fn read(&self, entry: &Entry, span: ContentRange) -> Result<Vec<u8>, StoreError> {
        let starts = entry.chunk_offsets();
        let end = span.at.saturating_add(span.size);
        let places: Vec<usize> = (0..entry.manifest.chunks.len())
            .filter(|place| starts[*place] < end && starts[place + 1] > span.at)
            .collect();
        let size = usize::try_from(span.size);
        let size = size.map_err(|_| StoreError::Sink(io::ErrorKind::OutOfMemory.into()))?;
        let bytes = Mutex::new(vec![0; size]);
        self.load(entry, &places, &|place, chunk| {
            let (from, to) = (starts[place].max(span.at), starts[place + 1].min(end));
            let (from_chunk, to_chunk) = (offset(from - starts[place]), offset(to - starts[place]));
            let mut bytes = lock(&bytes);
            bytes[offset(from - span.at)..offset(to - span.at)].copy_from_slice(&chunk[from_chunk..to_chunk]);
            Ok(())
        })?;
        Ok(into_inner(bytes))
    }

    /// Announces the chunks that may be fetched from the remote, so that a sweep spares them.
    fn register_fetches(&self, entry: &Entry, places: &[usize]) -> Result<Option<Registration>, StoreError> {
        if self.remote.is_none() || self.read_only {
            return Ok(None);
        }
        let registration = Registration::new(&self.local)?;
        let wanted: HashSet<_> = places.iter().map(|place| entry.manifest.chunks[*place].digest).collect();
        registration.announce(&wanted.into_iter().collect::<Vec<_>>())?;
        Ok(Some(registration))
    }
}

/// The sources of the chunks of an entry.
struct ChunkFetcher<'a> {
    store: &'a Store,
    entry: &'a Entry,
    /// Spares chunks that are stored locally; `None` without a remote or in a read-only store.
    fetched: Option<Registration>,
    faults: Mutex<Vec<StoreError>>,
}

impl ChunkFetcher<'_> {
    fn chunk(&self, place: usize) -> Result<Vec<u8>, StoreError> {
        let ChunkRef { digest, size, .. } = self.entry.manifest.chunks[place];
        let chunk = self.read_verified(&digest)?;
        if chunk.len() as u64 == u64::from(size) {
            return Ok(chunk);
        }
        Err(StoreError::Damaged {
            path: self.entry.path.clone(),
            place: self.store.local.place(),
            reason: "a chunk has a different size than it lists".to_owned(),
        })
    }

    fn read_verified(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let here = self.store.local.chunk(digest);
        let Some(remote) = &self.store.remote else {
            return here?.map(|stored| stored.chunk).ok_or_else(|| self.missing_error(digest));
        };
        match here {
            Ok(Some(stored)) => return Ok(stored.chunk),
            Ok(None) => {}
            Err(fault) => self.record_fault(fault),
        }
        let StoredChunk { frame, chunk } = remote.chunk(digest)?.ok_or_else(|| self.missing_error(digest))?;
        let is_full = lock(&self.faults).iter().any(|fault| fault.reason() == FaultReason::Full);
        if !is_full
            && self.fetched.is_some()
            && let Err(fault) = self.store.local.put_chunk(digest, &frame)
        {
            self.record_fault(fault);
        }
        Ok(chunk)
    }

    fn record_fault(&self, fault: StoreError) {
        lock(&self.faults).push(fault);
    }

    fn missing_error(&self, digest: &Digest) -> StoreError {
        let place = self.store.remote.as_ref().unwrap_or(&self.store.local).place();
        StoreError::Missing { path: ChunkRef::path(digest), entry: self.entry.short_id(), place }
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an offset in memory")
}
