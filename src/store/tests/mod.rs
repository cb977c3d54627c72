//! Tests of a store over all backends that can run within a test process.

mod concurrency;
mod damage;
mod eviction;
mod lanes;
mod portable;
mod remote;
mod round_trip;
mod verification;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::backend::DirectoryBackend;
use super::*;

/// Returns incompressible bytes that depend on the seed only.
pub(super) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}

pub(super) fn lane(name: &str) -> Lane {
    Lane::try_from(name.to_owned()).unwrap()
}

pub(super) fn terms(name: &str) -> StoreOptions {
    StoreOptions {
        lanes: Lanes::new(lane(name), None, vec![lane("main")]),
        read_only: false,
        trust: Trust::default(),
        max_bytes: None,
        floor: crate::store::FreeSpaceLimit::Bytes(0),
    }
}

pub(super) fn open(local: &Path, remote: Option<&Path>, terms: StoreOptions) -> Store {
    let backend = |path: &Path| Arc::new(DirectoryBackend::new(path)) as Arc<dyn Backend>;
    Store::new(backend(local), remote.map(backend), terms)
}

pub(super) fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Waits until entries have a later timestamp than those saved before.
pub(super) fn next_moment() {
    let before = Timestamp::now().as_millisecond();
    while Timestamp::now().as_millisecond() == before {
        std::thread::yield_now();
    }
}

/// Saves an entry with `content` under the key of `name`.
pub(super) fn save(store: &Store, name: &str, content: &[u8]) -> SavedEntry {
    let mut save = store.save(EntryKind::Dir, "family", key(name)).unwrap();
    save.write(content).unwrap();
    let subject =
        Subject { title: name.to_owned(), files: 1, bytes: content.len() as u64, ..Subject::default() };
    save.commit(subject, ContentRange { at: 0, size: 0 }).unwrap()
}

pub(super) fn find(store: &Store, name: &str) -> Option<Entry> {
    store.find(EntryKind::Dir, "family", key(name), false).entry
}

/// Returns the whole content of an entry, and the faults.
pub(super) fn content(store: &Store, entry: &Entry) -> Result<(Vec<u8>, Vec<StoreError>), StoreError> {
    let chunks = Mutex::new(vec![Vec::new(); entry.manifest.chunks.len()]);
    let places: Vec<usize> = (0..entry.manifest.chunks.len()).collect();
    let faults = store.load(entry, &places, &|place, chunk| {
        chunks.lock().unwrap()[place] = chunk.to_vec();
        Ok(())
    })?;
    Ok((chunks.into_inner().unwrap().concat(), faults))
}

/// Returns the paths of all files below a directory, or none if it does not exist.
pub(super) fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = walkdir::WalkDir::new(directory).sort_by_file_name().into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}
