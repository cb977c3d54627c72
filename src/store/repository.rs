//! Entries and chunks in one backend. Objects are verified when they are read; invalid objects are set aside.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::backend::{Backend, FaultReason};
use super::chunk::frame;
use super::disk_space::FreeSpaceLimit;
use super::manifest::{ChunkRef, Entry, EntryName, ManifestError};
use super::parallel::{into_inner, lock};
use super::signature::Trust;
use super::{Address, StoreError, parallel};
use crate::digest::Digest;

/// The largest manifest in bytes; that of an entry of 1 TiB has about 100 MB.
pub(super) const MAX_MANIFEST_SIZE: u64 = 256 << 20;

#[derive(Debug)]
pub(super) struct StoredChunk {
    pub(super) frame: Vec<u8>,
    pub(super) chunk: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct StoreRepository {
    pub(super) backend: Arc<dyn Backend>,
    /// `true` if damaged objects are left in place.
    read_only: bool,
    floor: FreeSpaceLimit,
}

impl StoreRepository {
    pub(super) fn new(backend: Arc<dyn Backend>, read_only: bool, floor: FreeSpaceLimit) -> Self {
        Self { backend, read_only, floor }
    }

    /// Writes the frame of a chunk unless that would leave too little free space.
    pub(super) fn put_chunk(&self, digest: &Digest, frame: &[u8]) -> Result<(), StoreError> {
        if let Some(space) = self.backend.space()
            && let Some(floor) = self.floor.violated_by(frame.len() as u64, space)
        {
            return Err(StoreError::NoRoom { place: self.place(), free: space.free, floor });
        }
        Ok(self.backend.write(&ChunkRef::path(digest), frame)?)
    }

    /// Returns the same repository, which leaves damaged objects in place.
    pub(super) fn read_only_view(&self) -> Self {
        Self { read_only: true, ..self.clone() }
    }

    pub(super) fn place(&self) -> String {
        self.backend.place()
    }

    /// Reads an object, and sets it aside if it is damaged.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.backend.read(path, limit).map_err(|error| match error.reason {
            FaultReason::Damaged => self.set_aside(path, error.source.to_string()),
            _ => error.into(),
        })
    }

    /// Reads and verifies a chunk; returns `None` if it does not exist.
    pub(super) fn chunk(&self, digest: &Digest) -> Result<Option<StoredChunk>, StoreError> {
        let path = ChunkRef::path(digest);
        let Some(stored) = self.read(&path, frame::MAX_FRAME_SIZE as u64)? else { return Ok(None) };
        match frame::decode(&stored) {
            Ok(chunk) if Digest::of(&chunk) == *digest => Ok(Some(StoredChunk { frame: stored, chunk })),
            Ok(_) => Err(self.set_aside(&path, "its content does not match its digest".to_owned())),
            Err(error) => Err(self.set_aside(&path, error.to_string())),
        }
    }

    /// Returns the names of all entries below `place`, a prefix of `entries`.
    pub(super) fn names(&self, place: &str) -> Result<Vec<EntryName>, StoreError> {
        let objects = self.backend.list(place)?;
        Ok(objects.iter().filter_map(|object| EntryName::parse(&object.path)).collect())
    }

    /// Reads the entry of `name`; returns `None` if it was removed meanwhile.
    pub(super) fn entry(&self, name: &EntryName, trust: &Trust) -> Result<Option<Entry>, StoreError> {
        let path = name.path();
        let Some(text) = self.read(path, MAX_MANIFEST_SIZE)? else { return Ok(None) };
        let (line, signature) = Entry::split(&text);
        if !name.is_name_of(line) {
            return Err(self.set_aside(path, "it does not match the digest in its name".to_owned()));
        }
        let at = || (path.to_owned(), self.place());
        trust.check(line, signature).map_err(|reason| {
            let (path, place) = at();
            StoreError::Unsigned { path, place, reason }
        })?;
        match Entry::read(name, line) {
            Ok(entry) => Ok(Some(entry)),
            Err(ManifestError::Newer(schema)) => {
                let (path, place) = at();
                Err(StoreError::Newer { path, place, schema })
            }
            Err(ManifestError::Damaged(reason)) => Err(self.set_aside(path, reason)),
        }
    }

    /// Returns all readable entries in the order of their paths, trusted or not, and the faults of the others.
    pub(super) fn entries(&self) -> Result<(Vec<Entry>, Vec<StoreError>), StoreError> {
        let names = self.names("entries")?;
        let read = Mutex::new((Vec::new(), Vec::new()));
        let done = parallel::for_each::<_, Infallible>(&names, self.backend.parallelism(), |name| {
            let entry = self.entry(name, &Trust::default());
            let mut read = lock(&read);
            match entry {
                Ok(entry) => read.0.extend(entry),
                Err(fault) => read.1.push(fault),
            }
            Ok(())
        });
        let Ok(()) = done;
        let (mut entries, faults) = into_inner(read);
        entries.sort_unstable_by(|a: &Entry, b: &Entry| a.path.cmp(&b.path));
        Ok((entries, faults))
    }

    pub(super) fn is_signed(&self, name: &EntryName) -> Result<bool, StoreError> {
        let text = self.backend.read(name.path(), MAX_MANIFEST_SIZE)?.unwrap_or_default();
        Ok(Entry::split(&text).1.is_some())
    }

    /// Writes a manifest, which makes the entry visible.
    pub(super) fn put_entry(&self, entry: &Entry, text: &[u8]) -> Result<(), StoreError> {
        self.backend.write(&entry.path, text)?;
        Ok(self.backend.sync(&entry.manifest.address.directory())?)
    }

    pub(super) fn touch(&self, digits: &str, now: Timestamp) -> Result<(), StoreError> {
        let place = format!("used/{digits}");
        let older = self.backend.list(&place)?;
        let path = format!("{place}/{}", now.as_millisecond());
        self.backend.write(&path, b"")?;
        for object in older.iter().filter(|object| object.path != path) {
            self.backend.remove(&object.path)?;
        }
        Ok(())
    }

    /// Returns when each entry was last used, by the digits of its id; entries that were never used are absent.
    pub(super) fn last_uses(&self) -> Result<HashMap<String, Timestamp>, StoreError> {
        let mut uses = HashMap::new();
        for object in self.backend.list("used")? {
            let mut parts = object.path.rsplit('/');
            let time = parts.next().and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok());
            if let (Some(time), Some(id)) = (time, parts.next()) {
                let known = uses.entry(id.to_owned()).or_insert(time);
                *known = time.max(*known);
            }
        }
        Ok(uses)
    }

    /// Removes an entry; its chunks stay until they are swept.
    pub(super) fn remove_entry(&self, name: &EntryName) -> Result<(), StoreError> {
        self.backend.remove(name.path())?;
        for object in self.backend.list(&format!("used/{}", name.id))? {
            self.backend.remove(&object.path)?;
        }
        Ok(())
    }

    /// Sets aside an object that failed verification, if allowed, and returns the error to report.
    pub(super) fn set_aside(&self, path: &str, reason: String) -> StoreError {
        let moved = if self.read_only { Ok(()) } else { self.backend.set_aside(path) };
        match moved {
            Ok(()) => StoreError::Damaged { path: path.to_owned(), place: self.place(), reason },
            Err(error) => error.into(),
        }
    }

    /// Returns the names of the entries of `address`, newest first.
    pub(super) fn versions(&self, address: &Address) -> Result<Vec<EntryName>, StoreError> {
        let mut names = self.names(&address.directory())?;
        names.retain(|name| name.is_for_key(&address.key));
        names.sort_unstable_by(|a, b| b.cmp_age(a));
        Ok(names)
    }
}
