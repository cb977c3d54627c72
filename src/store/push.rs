//! Uploads an entry to the remote while it is still being saved.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::manifest::{ChunkRef, Entry};
use super::parallel::lock;
use super::registration::Registration;
use super::repository::StoreRepository;
use super::{StoreError, TransferAmounts, parallel};
use crate::digest::Digest;

/// The number of chunks that are announced together, to write fewer marks.
const ANNOUNCE_BATCH_SIZE: usize = 8;
/// The limit on uploads, because each holds a chunk and its frame in memory.
const MAX_UPLOADS: usize = 12;

#[derive(Debug)]
pub(super) struct UploadQueue {
    queue: Sender<Digest>,
    uploads: Vec<JoinHandle<()>>,
    shared: Arc<UploadState>,
}

#[derive(Debug)]
struct UploadState {
    local: StoreRepository,
    remote: StoreRepository,
    registration: Registration,
    /// The first fault; uploads stop after it.
    fault: Mutex<Option<StoreError>>,
    sent: Mutex<TransferAmounts>,
}

impl UploadQueue {
    pub(super) fn new(local: &StoreRepository, remote: &StoreRepository) -> Result<Self, StoreError> {
        let shared = Arc::new(UploadState {
            local: local.clone(),
            remote: remote.clone(),
            registration: Registration::new(remote)?,
            fault: Mutex::default(),
            sent: Mutex::default(),
        });
        let (queue, digests) = channel();
        let digests = Arc::new(Mutex::new(digests));
        let mut uploads = Vec::new();
        for _ in 0..remote.backend.parallelism().min(MAX_UPLOADS) {
            let (digests, shared) = (Arc::clone(&digests), Arc::clone(&shared));
            let upload = move || upload(&digests, &shared);
            let thread = thread::Builder::new().name("upload".to_owned()).spawn(upload);
            uploads.push(thread.map_err(StoreError::Worker)?);
        }
        Ok(Self { queue, uploads, shared })
    }

    pub(super) fn sender(&self) -> Sender<Digest> {
        self.queue.clone()
    }

    /// Queues a chunk for upload. It is skipped if the remote has it.
    pub(super) fn send(&self, digest: Digest) {
        // The channel is closed only after an upload has failed, and that fault is reported.
        let _ = self.queue.send(digest);
    }

    /// Returns `true` if the remote has these chunks; a sweep spares them until the entry is complete.
    pub(super) fn has_chunks(&self, digests: &[Digest]) -> bool {
        let UploadState { registration, remote, .. } = self.shared.as_ref();
        let is_there = |digest: &Digest| registration.stored_size(digest).ok().flatten().map(drop).ok_or(());
        registration.announce(digests).is_ok()
            && parallel::for_each(digests, remote.backend.parallelism(), is_there).is_ok()
    }

    /// Waits for the uploads, writes the manifest and returns what the remote lacked.
    pub(super) fn finish(self, entry: &Entry, text: &[u8]) -> Result<TransferAmounts, StoreError> {
        drop(self.queue);
        for upload in self.uploads {
            upload
                .join()
                .map_err(|_| StoreError::Worker(std::io::Error::other("an upload thread panicked")))?;
        }
        if let Some(fault) = lock(&self.shared.fault).take() {
            return Err(fault);
        }
        self.shared.remote.put_entry(entry, text)?;
        Ok(TransferAmounts { entries: 1, ..*lock(&self.shared.sent) })
    }
}

fn upload(digests: &Mutex<Receiver<Digest>>, shared: &UploadState) {
    loop {
        let batch: Vec<Digest> = {
            let digests = lock(digests);
            let Ok(first) = digests.recv() else { return };
            std::iter::once(first).chain(digests.try_iter().take(ANNOUNCE_BATCH_SIZE - 1)).collect()
        };
        if lock(&shared.fault).is_some() {
            return;
        }
        if let Err(fault) = upload_batch(&batch, shared) {
            lock(&shared.fault).get_or_insert(fault);
            return;
        }
    }
}

fn upload_batch(batch: &[Digest], shared: &UploadState) -> Result<(), StoreError> {
    shared.registration.announce(batch)?;
    for digest in batch {
        if shared.registration.stored_size(digest)?.is_some() {
            continue;
        }
        let missing = || StoreError::Missing {
            path: ChunkRef::path(digest),
            entry: "(being saved)".to_owned(),
            place: shared.local.place(),
        };
        let stored = shared.local.chunk(digest)?.ok_or_else(missing)?;
        shared.remote.put_chunk(digest, &stored.frame)?;
        *lock(&shared.sent) += TransferAmounts { entries: 0, chunks: 1, bytes: stored.frame.len() as u64 };
    }
    Ok(())
}
