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
    pub(super) repository: StoreRepository,
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
            let condemned = marked_chunks(&self.repository, SWEEPING)?;
            digests.iter().any(|digest| condemned.contains(digest))
        } {
            if start.elapsed() > MAX_WAIT {
                return Err(StoreError::Busy { place: self.repository.place() });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    pub(super) fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let size = self.repository.backend.size(&ChunkRef::path(digest))?;
        Ok(size.filter(|size| (MIN_FRAME_SIZE..=frame::MAX_FRAME_SIZE as u64).contains(size)))
    }
}

/// Marks chunks that are about to be removed, until the value is dropped.
pub(super) fn condemn(repository: &StoreRepository, digests: &[Digest]) -> Result<Box<dyn Mark>, StoreError> {
    Ok(repository.backend.mark(SWEEPING, &lines(digests))?)
}

pub(super) fn announced_chunks(repository: &StoreRepository) -> Result<HashSet<Digest>, StoreError> {
    marked_chunks(repository, SAVING)
}

fn marked_chunks(repository: &StoreRepository, directory: &str) -> Result<HashSet<Digest>, StoreError> {
    let texts = repository.backend.marks(directory)?;
    let lines = texts.iter().flat_map(|text| text.lines());
    Ok(lines.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
}

fn lines(digests: &[Digest]) -> String {
    digests.iter().fold(String::with_capacity(digests.len() * 65), |text, digest| text + &digest.hex() + "\n")
}
