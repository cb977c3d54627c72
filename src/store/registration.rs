//! Coordinates savers and sweepers without locks.
//!
//! A saver *announces* each chunk that it needs before it checks whether the chunk exists. A sweeper *condemns* the
//! chunks that it is going to remove before it reads the announcements. Either the sweeper sees the announcement and
//! spares the chunk, or the saver sees that the chunk is condemned, waits for the end of that sweep, and writes the
//! chunk if it was removed. Marks of both kinds end with their process.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;
use super::backend::Mark;
use super::chunk::frame;
use super::manifest::ChunkRef;
use super::repository::StoreRepository;
use crate::digest::Digest;

const SAVING: &str = "saving";
const SWEEPING: &str = "sweeping";
/// The time for which a saver waits for a sweep that removes chunks that the saver needs.
const MAX_WAIT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The smallest size of a valid frame. Smaller files are left behind by a crash of the machine.
const MIN_FRAME_SIZE: u64 = 10;

/// An announcement of chunks. It ends when the value is dropped, which must happen after the manifest that needs the
/// chunks has been written.
#[derive(Debug)]
pub(super) struct Registration {
    repository: StoreRepository,
    mark: Box<dyn Mark>,
}

impl Registration {
    pub(super) fn new(repository: &StoreRepository) -> Result<Self, StoreError> {
        let mark = repository.backend.mark(SAVING, "")?;
        Ok(Self { repository: repository.clone(), mark })
    }

    /// Announces these chunks; a sweep spares them from then on.
    pub(super) fn announce(&self, digests: &[Digest]) -> Result<(), StoreError> {
        self.mark.add(&lines(digests))?;
        let start = Instant::now();
        while {
            let condemned = condemned_chunks(&self.repository)?;
            digests.iter().any(|digest| condemned.contains(digest))
        } {
            if start.elapsed() > MAX_WAIT {
                return Err(StoreError::Busy { place: self.repository.place() });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Returns the size of the object of an announced chunk, if it exists.
    pub(super) fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let size = self.repository.backend.size(&ChunkRef::path(digest))?;
        Ok(size.filter(|size| (MIN_FRAME_SIZE..=frame::MAX_FRAME_SIZE as u64).contains(size)))
    }

    pub(super) fn put_chunk(&self, digest: &Digest, frame: &[u8]) -> Result<(), StoreError> {
        self.repository.put_chunk(digest, frame)
    }
}

/// A mark on chunks that are about to be removed. It ends when the value is dropped.
#[derive(Debug)]
pub(super) struct Condemnation {
    _mark: Box<dyn Mark>,
}

impl Condemnation {
    pub(super) fn new(repository: &StoreRepository, digests: &[Digest]) -> Result<Self, StoreError> {
        Ok(Self { _mark: repository.backend.mark(SWEEPING, &lines(digests))? })
    }
}

/// Returns the chunks that running sweepers are about to remove.
fn condemned_chunks(repository: &StoreRepository) -> Result<HashSet<Digest>, StoreError> {
    Ok(digests(&repository.backend.marks(SWEEPING)?))
}

/// Returns the chunks that running savers need.
pub(super) fn announced_chunks(repository: &StoreRepository) -> Result<HashSet<Digest>, StoreError> {
    Ok(digests(&repository.backend.marks(SAVING)?))
}

fn lines(digests: &[Digest]) -> String {
    digests.iter().fold(String::with_capacity(digests.len() * 65), |text, digest| text + &digest.hex() + "\n")
}

fn digests(texts: &[String]) -> HashSet<Digest> {
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect()
}
