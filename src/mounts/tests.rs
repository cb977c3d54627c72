//! Tests of mounts with a courier in a local directory.

mod carrying;
mod hostile;
mod identities;

use std::io::{BufReader, BufWriter};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::*;
use crate::courier;
use crate::digest::Digest;
use crate::store::Meter;
use crate::store::backend::DirectoryBackend as LocalDirectory;
use crate::store::{Entry, Lane, Store, StoreOptions, Subject, Trust};

/// A store, and directories in the role of mounts.
pub(super) struct TestStore {
    base: tempfile::TempDir,
    pub(super) store: Store,
}

impl TestStore {
    pub(super) fn new() -> Self {
        // The file system of the temporary directory may not record access times.
        let base = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let lane = Lane::try_from("main".to_owned()).unwrap();
        let trust = Trust::default();
        let terms = StoreOptions { trust, ..StoreOptions::of(lane) };
        let store = Store::new(Arc::new(LocalDirectory::new(&base.path().join("store"))), None, terms);
        Self { base, store }
    }

    /// Creates a directory in the role of a mount.
    pub(super) fn mount(&self, name: &str) -> PathBuf {
        let path = self.base.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    pub(super) fn save(&self, mount: &Path, before: Option<&Entry>, terms: &SaveTerms) -> SavedMount {
        with_courier(mount, |talk| save(&self.store, before, talk, terms, &Meter::default())).unwrap()
    }

    pub(super) fn restore(&self, mount: &Path, entry: &Entry) -> RestoredMount {
        self.restore_with(mount, entry, ExistingFiles::Replace)
    }

    fn restore_with(&self, mount: &Path, entry: &Entry, present: ExistingFiles) -> RestoredMount {
        with_courier(mount, |talk| restore(&self.store, entry, present, talk, &Meter::default())).unwrap()
    }

    pub(super) fn try_restore(&self, mount: &Path, entry: &Entry) -> Result<RestoredMount, MountError> {
        with_courier(mount, |talk| {
            restore(&self.store, entry, ExistingFiles::Replace, talk, &Meter::default())
        })
    }
}

pub(super) fn terms() -> SaveTerms {
    SaveTerms {
        family: "mount".to_owned(),
        key: Digest::of(b"mount"),
        subject: Subject::default(),
        unused_builds: Some(3),
        max_size: None,
        allow_shrink: false,
    }
}

pub(super) fn entry(saved: SavedMount) -> Entry {
    match saved.outcome {
        SaveOutcome::Saved(saved) => saved.entry,
        other => panic!("{other:?}"),
    }
}

/// Communicates with a courier in `mount`.
pub(super) fn with_courier<T>(mount: &Path, work: impl FnOnce(Conversation) -> T) -> T {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut to = BufWriter::new(&theirs);
            // The connection breaks if the test ends it early.
            drop(courier::mount::serve(0, mount, &mut &theirs, &mut to));
        });
        let reader = BufReader::new(ours.try_clone().unwrap());
        let (number, talk) = Conversation::accept(reader, BufWriter::new(ours)).unwrap();
        assert_eq!(number, 0);
        work(talk)
    })
}
