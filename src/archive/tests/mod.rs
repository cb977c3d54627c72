//! Tests of saving and restoring directories.

mod hostile;
mod listing;
mod pure;
mod round_trip;
mod saving;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::restore::RestoredDirectory;
use super::reuse_plan::ReusePlan;
use super::save::SavedDirectory;
use super::trim::Trimmed;
use super::walk::{LeftOutPath, WalkedNode};
use super::*;
use crate::digest::Digest;
use crate::store::backend::DirectoryBackend;
use crate::store::{Entry, EntryKind, Lane, Meter, Store, StoreOptions, Subject};

/// A store, a directory `from` that is saved, and a directory `to` that is restored.
pub(super) struct TestDirectories {
    base: tempfile::TempDir,
    pub(super) store: Store,
}

impl TestDirectories {
    pub(super) fn new() -> Self {
        // The file system of the temporary directory may not support attributes.
        let base = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let lane = Lane::try_from("main".to_owned()).unwrap();
        let terms = StoreOptions::of(lane);
        let store = Store::new(Arc::new(DirectoryBackend::new(&base.path().join("store"))), None, terms);
        Self { base, store }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.base.path().join(path)
    }

    /// Writes a file below `from`, with its parents.
    pub(super) fn write(&self, path: &str, content: &[u8]) {
        let path = self.path("from").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(super) fn walk(&self) -> WalkedDirectory {
        walk(&self.open("from")).unwrap()
    }

    pub(super) fn open(&self, path: &str) -> Dir {
        Dir::open_ambient_dir(self.path(path), ambient_authority()).unwrap()
    }

    pub(super) fn save(&self, base: Option<&BaseEntry>) -> SavedDirectory {
        let subject = Subject { title: "from".to_owned(), ..Subject::default() };
        let destination =
            DirectoryDestination { family: "from", key: Digest::of(b"key"), subject, replaces: None };
        save(&self.store, &self.open("from"), self.walk(), base, destination, &Meter::default()).unwrap()
    }

    pub(super) fn base(&self, saved: &SavedDirectory) -> BaseEntry {
        let entry = saved.saved.entry.clone();
        let listing = read_listing(&self.store, &entry, true).unwrap();
        BaseEntry { entry, listing, index: saved.index.clone() }
    }

    pub(super) fn restore(&self, entry: &Entry) -> Result<RestoredDirectory, RestoreError> {
        restore(&self.store, entry, &self.path("to"), RestoreOptions::default(), &Meter::default())
    }

    /// Creates an entry with this listing and content, without validation.
    pub(super) fn forge(&self, nodes: Vec<Node>, content: &[u8]) -> Entry {
        let mut save = self.store.save(EntryKind::Dir, "from", Digest::of(b"forged")).unwrap();
        save.write(content).unwrap();
        let list = Listing { nodes }.encode();
        let at = save.position();
        save.write(&list).unwrap();
        let listing = crate::store::ContentRange { at, size: list.len() as u64 };
        save.commit(Subject::default(), listing).unwrap().entry
    }
}

/// Returns the nodes of a directory without access times, and the content of its files.
pub(super) fn tree(path: &Path) -> Vec<(Node, Vec<u8>)> {
    let root = Dir::open_ambient_dir(path, ambient_authority()).unwrap();
    let walked = walk(&root).unwrap();
    walked
        .found
        .into_iter()
        .map(|found| {
            let mut node = found.node;
            let content = match &mut node.kind {
                NodeKind::File(file) => {
                    file.used = 0;
                    std::fs::read(path.join(&node.path)).unwrap()
                }
                _ => Vec::new(),
            };
            (node, content)
        })
        .collect()
}

/// Sets the modification times of all files to the distant past.
pub(super) fn age(path: &Path) {
    for (number, entry) in walkdir::WalkDir::new(path).contents_first(true).into_iter().enumerate() {
        let time =
            filetime::FileTime::from_unix_time(1_700_000_000 + i64::try_from(number).unwrap(), 123_456_789);
        filetime::set_symlink_file_times(entry.unwrap().path(), time, time).unwrap();
    }
}

/// Returns incompressible bytes that depend on the seed only.
pub(super) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size).collect()
}
