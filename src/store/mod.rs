//! A content-addressed store of entries, divided into lanes, on the local disk and in a bucket that machines share.
//!
//! The layout is the same on a disk and in a bucket; `v1` is its version:
//!
//! ```text
//! v1/
//!   entries/<lane>/<kind>/<family>/<key>.<created>.<id>.json   a manifest, see `manifest`
//!   used/<id>/<time>     when the entry was last used
//!   chunks/<ab>/<abcd…>  a chunk, named by the SHA-256 of its bytes, as one zstd frame
//!   unsent/<id>          entries that the remote may lack
//!   usage.json           usage after the last sweep
//!   saving/…             marks of savers: the chunks that they need
//!   sweeping/…           marks of sweepers: the chunks that they remove
//!   damaged/…            objects that failed verification; never read
//! ```
//!
//! Chunks are written before the manifest that needs them, and manifests are removed before their chunks. Every chunk
//! is verified whenever it is read.

mod address;
pub mod backend;
mod builds;
mod census;
mod chunk;
mod disk_space;
mod error;
mod find;
mod lane;
mod load;
mod manifest;
mod meter;
mod parallel;
mod portable;
mod push;
mod registration;
mod repository;
mod retention;
mod save;
mod signature;
mod sweep;
mod unsent;
mod usage;
mod verify;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use address::Address;
pub use address::EntryKind;
use backend::Backend;
pub(crate) use builds::SharedBuilds;
pub use census::StoreLocation;
pub(crate) use census::{Census, CensusEntry};
pub(crate) use disk_space::FreeSpaceLimit;
pub(crate) use error::{FaultRecord, StoreError};
pub(crate) use find::FoundEntry;
pub use lane::Lane;
pub(crate) use lane::Lanes;
pub(crate) use manifest::{ChunkRef, ContentRange, Entry, EntryManifest, KeyInput, RunFlags, Subject};
pub(crate) use meter::{Meter, MeteredReader};
pub(crate) use portable::{PortableError, TransferAmounts};
use repository::StoreRepository;
pub(crate) use retention::{EvictionCause, StoreLimits};
pub(crate) use save::{CopyError, Save, SavedEntry};
pub(crate) use signature::Trust;
pub(crate) use sweep::{EvictedEntry, EvictionSelection, SweepReport};
pub(crate) use unsent::SendReport;
pub(crate) use verify::VerifyResult;

use crate::digest::Digest;

/// The version of the layout, the first component of every path.
pub(crate) const LAYOUT: &str = "v1";

/// A local store, optionally backed by a remote that machines share.
#[derive(Debug, Clone)]
pub struct Store {
    local: StoreRepository,
    remote: Option<StoreRepository>,
    lanes: Lanes,
    read_only: bool,
    trust: Trust,
    max_bytes: Option<u64>,
}

/// The settings of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub(crate) lanes: Lanes,
    /// `true` if nothing is saved, moved or removed.
    pub(crate) read_only: bool,
    pub(crate) trust: Trust,
    /// The limit of the whole cache; an entry that is larger is not saved.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) floor: FreeSpaceLimit,
}

impl StoreOptions {
    /// Returns the terms of a job of `lane` that may write, trusts every entry and has no size limits.
    pub fn of(lane: Lane) -> Self {
        let (lanes, floor) = (Lanes::of_trunk(lane), FreeSpaceLimit::Bytes(0));
        Self { lanes, read_only: false, trust: Trust::default(), max_bytes: None, floor }
    }
}

impl Store {
    /// Creates a store in `local`, optionally backed by `remote`. Nothing is read or written yet.
    pub fn new(local: Arc<dyn Backend>, remote: Option<Arc<dyn Backend>>, terms: StoreOptions) -> Self {
        let StoreOptions { lanes, read_only, trust, max_bytes, floor } = terms;
        let remote = remote.map(|remote| StoreRepository::new(remote, read_only, floor));
        let local = StoreRepository::new(local, read_only, floor);
        Self { local, remote, lanes, read_only, trust, max_bytes }
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Starts to save an entry in this job's lane. Fails if the store is read-only or the backend fails.
    pub(crate) fn save(&self, kind: EntryKind, family: &str, key: Digest) -> Result<Save, StoreError> {
        Save::new(self, Address { lane: self.lanes.own().clone(), kind, family: family.to_owned(), key })
    }

    /// Returns `false` if the remote is known to lack an entry, and `true` otherwise, also if there is no remote.
    pub(crate) fn is_in_all_stores(&self, entry: &Entry) -> bool {
        let found = self.remote.as_ref().map(|remote| remote.backend.size(&entry.path));
        !matches!(found, Some(Ok(None)))
    }

    pub(crate) fn touch(&self, entry: &Entry) -> Result<(), StoreError> {
        if self.read_only {
            return Ok(());
        }
        let now = Timestamp::now();
        self.local.touch(&entry.digits(), now)?;
        self.remote.as_ref().map_or(Ok(()), |remote| remote.touch(&entry.digits(), now))
    }

    /// Records that the local entry of `key` was used now, if there is one. The remote is not queried. Fails if the
    /// entry cannot be looked up or the record cannot be written.
    pub(crate) fn touch_local(&self, kind: EntryKind, family: &str, key: Digest) -> Result<(), StoreError> {
        if self.read_only {
            return Ok(());
        }
        for lane in self.lanes.reads() {
            let address = Address { lane: lane.clone(), kind, family: family.to_owned(), key };
            if let Some(name) = self.local.versions(&address)?.first() {
                return self.local.touch(&name.id, Timestamp::now());
            }
        }
        Ok(())
    }

    /// Sets aside an entry with missing content, as far as possible.
    fn set_aside(&self, entry: &Entry) {
        if !self.read_only {
            for repository in self.repositories() {
                // If the entry cannot be moved, the next load reports it again.
                let _ = repository.backend.set_aside(&entry.path);
            }
        }
    }

    fn repositories(&self) -> impl Iterator<Item = &StoreRepository> {
        std::iter::once(&self.local).chain(&self.remote)
    }

    pub(crate) fn check_size(&self, bytes: u64) -> Result<(), StoreError> {
        match self.max_bytes {
            Some(limit) if bytes > limit => Err(StoreError::TooLarge { bytes, limit }),
            _ => Ok(()),
        }
    }

    fn check_manifest_size(&self, manifest: &EntryManifest) -> Result<(), StoreError> {
        let stored = manifest.chunks.iter().map(|chunk| (chunk.digest, u64::from(chunk.stored)));
        self.check_size(stored.collect::<HashMap<_, _>>().values().sum())
    }

    /// Removes all but the newest entry of an address and returns the faults. Concurrent readers keep working: they
    /// have read the manifest, and its chunks stay until they are swept. Signed entries are only removed by jobs that
    /// sign.
    fn remove_old_versions(&self, address: &Address) -> Vec<StoreError> {
        let is_signed = self.trust.public_key().is_some();
        let forget = |repository: &StoreRepository| {
            let mut replaced = Vec::new();
            for name in repository.versions(address)?.into_iter().skip(1) {
                if is_signed || !repository.is_signed(&name)? {
                    replaced.push(name);
                }
            }
            let recorded = usage::record_replaced(repository, &replaced);
            replaced.iter().try_for_each(|name| repository.remove_entry(name))?;
            recorded
        };
        self.repositories().filter_map(|repository| forget(repository).err()).collect()
    }
}

#[cfg(test)]
mod tests;
