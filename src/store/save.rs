//! Saves an entry: a stream is cut into chunks, which are digested, compressed and written on all cores.
//!
//! ```text
//!  write ──▶ cutter ──▶ queue ──▶ workers: digest, announce, skip if stored, else compress and write
//!                                    └──▶ uploads, see `push`
//!  commit: writes the manifest after all chunks
//! ```
//!
//! The memory of a save is limited to the chunks in the queue and in the workers, whatever the size of the entry.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;

use super::chunk::cutter::Cutter;
use super::chunk::frame::Encoder;
use super::manifest::{ChunkRef, ContentRange, Entry, EntryManifest, SCHEMA, Subject};
use super::parallel::lock;
use super::push::UploadQueue;
use super::registration::Registration;
use super::repository::StoreRepository;
use super::sweep::{EvictionSelection, sweep};
use super::{Address, Store, StoreError, parallel};
use crate::digest::Digest;

const MAX_THREADS: usize = 10;
/// The capacity of the queue, in chunks.
const QUEUE_CAPACITY: usize = 2;
/// An entry that is being saved. It becomes visible with [`Save::commit`] only.
#[derive(Debug)]
pub(crate) struct Save {
    store: Store,
    address: Address,
    cutter: Cutter,
    reused_chunks: Vec<ChunkRef>,
    queued_chunks: usize,
    queue: Option<SyncSender<(usize, Vec<u8>)>>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<SaveState>,
    push: Option<UploadQueue>,
    faults: Vec<StoreError>,
    is_committed: bool,
    /// Declared last, so that it is dropped when the chunks are no longer announced.
    leftovers: LeftoverChunks,
}

/// Removes the chunks of an incomplete save when it is dropped.
#[derive(Debug)]
struct LeftoverChunks {
    local: StoreRepository,
    exist: bool,
}

impl Drop for LeftoverChunks {
    fn drop(&mut self) {
        if self.exist {
            // Chunks that cannot be removed now are removed by the next sweep.
            let _ = sweep(&self.local, EvictionSelection::Ids(&[]), false, Timestamp::now());
        }
    }
}

#[derive(Debug)]
struct SaveState {
    registration: Registration,
    done: Mutex<ChunkResults>,
    added_bytes: AtomicU64,
    max_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct ChunkResults {
    chunks: Vec<Option<ChunkRef>>,
    /// `true` if a chunk could not be stored; the other chunks are then skipped.
    has_failed: bool,
    fault: Option<StoreError>,
}

impl ChunkResults {
    fn check(&mut self) -> Result<(), StoreError> {
        let over = || StoreError::Worker(io::Error::other("the save failed earlier"));
        if self.has_failed { Err(self.fault.take().unwrap_or_else(over)) } else { Ok(()) }
    }
}

#[derive(Debug)]
pub(crate) struct SavedEntry {
    pub(crate) entry: Entry,
    pub(crate) added_bytes: u64,
    /// Faults that did not prevent the save: failed uploads, and old versions that could not be removed.
    pub(crate) faults: Vec<StoreError>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    /// The reader failed or ended early. The bytes it returned are part of the content.
    #[error("cannot read the content to save")]
    Reader(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Reader(error)
    }
}

impl Save {
    pub(super) fn new(store: &Store, address: Address) -> Result<Self, StoreError> {
        if store.read_only {
            return Err(StoreError::ReadOnly);
        }
        let shared = Arc::new(SaveState {
            registration: Registration::new(&store.local)?,
            done: Mutex::default(),
            added_bytes: AtomicU64::new(0),
            max_bytes: store.max_bytes,
        });
        let mut faults = Vec::new();
        let push = store.remote.as_ref().and_then(|remote| {
            UploadQueue::new(&store.local, remote).map_err(|fault| faults.push(fault)).ok()
        });
        let (queue, chunks) = sync_channel(QUEUE_CAPACITY);
        let chunks = Arc::new(Mutex::new(chunks));
        let mut workers = Vec::new();
        for _ in 0..parallel::chunk_threads(MAX_THREADS) {
            let encoder = Encoder::new().map_err(StoreError::Worker)?;
            let (chunks, shared) = (Arc::clone(&chunks), Arc::clone(&shared));
            let pushed = push.as_ref().map(UploadQueue::sender);
            let work = move || process_chunks(&chunks, &shared, encoder, pushed.as_ref());
            workers.push(
                thread::Builder::new().name("chunks".to_owned()).spawn(work).map_err(StoreError::Worker)?,
            );
        }
        Ok(Self {
            store: store.clone(),
            address,
            cutter: Cutter::new(),
            reused_chunks: Vec::new(),
            queued_chunks: 0,
            queue: Some(queue),
            workers,
            shared,
            push,
            faults,
            is_committed: false,
            leftovers: LeftoverChunks { local: store.local.clone(), exist: false },
        })
    }

    /// Starts the content with chunks of an earlier entry, without reading them, and returns their offset. Returns
    /// `None` and takes over nothing if one of them no longer exists. Must be called before anything is written. Fails
    /// if the store cannot be queried.
    pub(crate) fn reuse(&mut self, chunks: &[ChunkRef]) -> Result<Option<u64>, StoreError> {
        let digests: Vec<Digest> = chunks.iter().map(|chunk| chunk.digest).collect();
        let registration = &self.shared.registration;
        registration.announce(&digests)?;
        let mut elsewhere = Vec::new();
        for digest in &digests {
            if registration.stored_size(digest)?.is_none() {
                elsewhere.push(*digest);
            }
        }
        // Chunks that exist only in the remote are not copied to the local store.
        if !elsewhere.is_empty() && !self.push.as_ref().is_some_and(|push| push.has_chunks(&elsewhere)) {
            return Ok(None);
        }
        let at = self.cutter.position();
        let size: u64 = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        self.cutter.start_at(at + size);
        if let Some(push) = &self.push {
            for digest in digests {
                push.send(digest);
            }
        }
        self.reused_chunks.extend(chunks);
        Ok(Some(at))
    }

    pub(crate) fn position(&self) -> u64 {
        self.cutter.position()
    }

    /// Ends the current chunk, so that the next byte starts a new one.
    pub(crate) fn boundary(&mut self) -> Result<(), StoreError> {
        let Self { cutter, queue, queued_chunks: handed, shared, .. } = self;
        cutter.flush(&mut |chunk| queue_chunk(chunk, queue.as_ref(), handed, shared))
    }

    /// Appends bytes to the content. Fails if a chunk cannot be stored.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match self.copy_from(&mut &*bytes, bytes.len() as u64) {
            Ok(()) => Ok(()),
            Err(CopyError::Store(error)) => Err(error),
            Err(CopyError::Reader(error)) => Err(StoreError::Worker(error)),
        }
    }

    /// Appends exactly `size` bytes of `reader` to the content. Fails if the reader fails or ends early, or if a chunk
    /// cannot be stored.
    pub(crate) fn copy_from(&mut self, reader: &mut dyn Read, size: u64) -> Result<(), CopyError> {
        let Self { cutter, queue, queued_chunks: handed, shared, .. } = self;
        let mut left = size;
        while left > 0 {
            let read = cutter.fill_from(reader, left, &mut |chunk| {
                queue_chunk(chunk, queue.as_ref(), handed, shared).map_err(CopyError::Store)
            })?;
            if read == 0 {
                return Err(CopyError::Reader(io::ErrorKind::UnexpectedEof.into()));
            }
            left -= read as u64;
        }
        Ok(())
    }

    /// Writes the manifest. After that the entry is visible and survives a crash. If it fails, the entry does not exist.
    pub(crate) fn commit(
        mut self,
        subject: Subject,
        listing: ContentRange,
    ) -> Result<SavedEntry, StoreError> {
        self.boundary()?;
        let chunks = self.finish()?;
        let added_bytes = self.shared.added_bytes.load(Ordering::Relaxed);
        let manifest = EntryManifest {
            schema: SCHEMA.to_owned(),
            address: self.address.clone(),
            created: Timestamp::now(),
            subject,
            listing,
            added_bytes,
            chunks,
        };
        self.store.check_manifest_size(&manifest)?;
        let (entry, mut text) = Entry::new(manifest);
        let signature = self.store.trust.sign(&text);
        text.push(b'\n');
        text.extend(signature.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()));
        let mut faults = std::mem::take(&mut self.faults);
        if self.store.remote.is_some() {
            faults.extend(self.store.record_unsent(&entry).err().map(StoreError::from));
        }
        self.store.local.put_entry(&entry, &text)?;
        self.is_committed = true;
        let sent = self.push.take().map(|push| {
            push.finish(&entry, &text).and_then(|_| Ok(self.store.remove_unsent_record(&entry)?))
        });
        if self.store.remote.is_some() && !matches!(sent, Some(Ok(()))) {
            // Another process may have removed the first note, because the entry did not exist yet.
            faults.extend(self.store.record_unsent(&entry).err().map(StoreError::from));
        }
        faults.extend(sent.and_then(Result::err));
        faults.extend(self.store.remove_old_versions(&self.address));
        Ok(SavedEntry { entry, added_bytes, faults })
    }

    /// Waits for the workers and returns the chunks of the whole content.
    fn finish(&mut self) -> Result<Vec<ChunkRef>, StoreError> {
        drop(self.queue.take());
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| StoreError::Worker(io::Error::other("a worker thread panicked")))?;
        }
        let mut done = lock(&self.shared.done);
        done.check()?;
        let new =
            done.chunks.drain(..).map(|chunk| chunk.expect("without a fault, every queued chunk is done"));
        Ok(self.reused_chunks.drain(..).chain(new).collect())
    }
}

impl Drop for Save {
    fn drop(&mut self) {
        // The workers end when the queue is closed.
        drop(self.queue.take());
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        self.leftovers.exist = !self.is_committed && self.shared.added_bytes.load(Ordering::Relaxed) > 0;
    }
}

/// Passes a chunk to the workers, unless one of them has failed.
fn queue_chunk(
    chunk: &[u8],
    queue: Option<&SyncSender<(usize, Vec<u8>)>>,
    handed: &mut usize,
    shared: &SaveState,
) -> Result<(), StoreError> {
    lock(&shared.done).check()?;
    let sent = queue.is_some_and(|queue| queue.send((*handed, chunk.to_vec())).is_ok());
    *handed += 1;
    // The queue is closed only after all workers have failed.
    if sent { Ok(()) } else { lock(&shared.done).check() }
}

fn process_chunks(
    chunks: &Mutex<Receiver<(usize, Vec<u8>)>>,
    shared: &SaveState,
    mut encoder: Encoder,
    pushed: Option<&std::sync::mpsc::Sender<Digest>>,
) {
    loop {
        let next = lock(chunks).recv();
        let Ok((place, chunk)) = next else { return };
        let result = store_chunk(&chunk, &shared.registration, &mut encoder).and_then(|(chunk, added)| {
            let bytes = shared.added_bytes.fetch_add(added, Ordering::Relaxed) + added;
            match shared.max_bytes {
                Some(limit) if bytes > limit => Err(StoreError::TooLarge { bytes, limit }),
                _ => Ok(chunk),
            }
        });
        let mut done = lock(&shared.done);
        match result {
            Ok(chunk) => {
                if done.chunks.len() <= place {
                    done.chunks.resize(place + 1, None);
                }
                done.chunks[place] = Some(chunk);
                drop(done);
                // The uploads may have failed and stopped.
                let _ = pushed.map(|pushed| pushed.send(chunk.digest));
            }
            Err(fault) => {
                done.has_failed = true;
                done.fault.get_or_insert(fault);
                return;
            }
        }
    }
}

/// Ensures that a chunk is in the store; returns the bytes that were added.
fn store_chunk(
    chunk: &[u8],
    registration: &Registration,
    encoder: &mut Encoder,
) -> Result<(ChunkRef, u64), StoreError> {
    let digest = Digest::of(chunk);
    let size = u32::try_from(chunk.len()).expect("a chunk is at most four megabytes");
    let bytes = |bytes: u64| u32::try_from(bytes).expect("a frame is little more than its chunk");
    registration.announce(&[digest])?;
    if let Some(stored) = registration.stored_size(&digest)? {
        return Ok((ChunkRef { digest, size, stored: bytes(stored) }, 0));
    }
    let frame = encoder.encode(chunk).map_err(StoreError::Worker)?;
    registration.repository.put_chunk(&digest, &frame)?;
    let stored = frame.len() as u64;
    Ok((ChunkRef { digest, size, stored: bytes(stored) }, stored))
}
