//! Content by address, in entries, in lanes; on this machine's disk and in a bucket that machines share.
//!
//! The same tree on a disk and in a bucket; `v1` is its version:
//!
//! ```text
//! v1/
//!   entries/<lane>/<kind>/<family>/<key>.<created>.<id>.json   a manifest, see `manifest`
//!   used/<id>/<time>     when the entry was last used
//!   chunks/<ab>/<abcd…>  a chunk by the SHA-256 of its bytes, as one zstd frame
//!   unsent/<id>          entries that the remote may lack
//!   usage.json           what the last sweep left
//!   saving/…             marks: who is saving, and which chunks that needs
//!   sweeping/…           marks: who is removing, and which chunks
//!   damaged/…            what failed verification; nobody reads it
//! ```
//!
//! Chunks are written before the manifest that needs them, and manifests
//! removed before their chunks. Every chunk is verified whenever it is read.

mod address;
pub mod backend;
mod census;
mod chunk;
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
mod room;
mod save;
mod signature;
mod sweep;
mod unsent;
mod usage;
mod verify;

use std::sync::Arc;

use jiff::Timestamp;

pub use address::{Address, EntryKind};
use backend::Backend;
pub use census::{Census, Listed, Place};
pub use error::StoreError;
pub(crate) use find::Found;
pub(crate) use lane::Lanes;
pub use lane::{InvalidLane, Lane};
pub(crate) use manifest::ChunkRef;
pub use manifest::{Entry, KeyInput, Manifest, RunFlags, Span, Subject};
pub(crate) use meter::{Counted, Meter};
pub(crate) use portable::{Carried, PortableError};
use repository::Repository;
pub(crate) use retention::{Cause, Limits};
pub(crate) use room::Floor;
pub(crate) use save::CopyError;
pub use save::{Save, Saved};
pub(crate) use signature::Trust;
pub(crate) use sweep::{Evicted, Swept, Victims};
pub(crate) use unsent::Sent;
pub(crate) use verify::Verified;

use crate::digest::Digest;

/// The version of the layout, the first component of every path.
pub const LAYOUT: &str = "v1";

/// A store: what is here, and what machines share.
#[derive(Debug, Clone)]
pub struct Store {
    local: Repository,
    /// The slower one that others share, if there is one.
    remote: Option<Repository>,
    lanes: Lanes,
    read_only: bool,
    trust: Trust,
    max_bytes: Option<u64>,
}

/// How a store is to be used.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Where entries are saved, and looked for.
    pub(crate) lanes: Lanes,
    /// Save nothing, move nothing, remove nothing.
    pub(crate) read_only: bool,
    /// Whose entries are used, and how new ones are signed.
    pub(crate) trust: Trust,
    /// An entry that is larger alone is not saved.
    pub(crate) max_bytes: Option<u64>,
    /// Room that saving leaves free.
    pub(crate) floor: Floor,
}

impl Terms {
    /// Those of a job of `lane` alone: it may write, trusts every entry, and saves one of any size.
    pub fn of(lane: Lane) -> Self {
        let (lanes, floor) = (Lanes::of_trunk(lane), Floor::Bytes(0));
        Self { lanes, read_only: false, trust: Trust::default(), max_bytes: None, floor }
    }
}

impl Store {
    /// A store in `local`, behind which `remote` may stand. Nothing is read or created yet.
    pub fn new(local: Arc<dyn Backend>, remote: Option<Arc<dyn Backend>>, terms: Terms) -> Self {
        let Terms { lanes, read_only, trust, max_bytes, floor } = terms;
        let remote = remote.map(|remote| Repository::new(remote, read_only, floor));
        let local = Repository::new(local, read_only, floor);
        Self { local, remote, lanes, read_only, trust, max_bytes }
    }

    /// Where entries are saved, and looked for.
    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Begins an entry of this job's lane.
    ///
    /// # Errors
    ///
    /// Fails when nothing may or can be written.
    pub fn save(&self, kind: EntryKind, family: &str, key: Digest) -> Result<Save, StoreError> {
        Save::new(self, Address { lane: self.lanes.own().clone(), kind, family: family.to_owned(), key })
    }

    /// Whether an entry is in the remote, too; also where there is none, or where it does not tell.
    pub(crate) fn is_everywhere(&self, entry: &Entry) -> bool {
        let found = self.remote.as_ref().map(|remote| remote.backend.size(&entry.path));
        !matches!(found, Some(Ok(None)))
    }

    /// Notes that an entry was used now, so that it is not among the first to go.
    ///
    /// # Errors
    ///
    /// Fails when that cannot be written.
    pub(crate) fn touch(&self, entry: &Entry) -> Result<(), StoreError> {
        if self.read_only {
            return Ok(());
        }
        let now = Timestamp::now();
        self.local.touch(&entry.digits(), now)?;
        self.remote.as_ref().map_or(Ok(()), |remote| remote.touch(&entry.digits(), now))
    }

    /// The same of the entry of `key` that would be found here, if there is one; the remote is not asked.
    ///
    /// # Errors
    ///
    /// Fails when that cannot be looked up or written.
    pub(crate) fn touch_here(&self, kind: EntryKind, family: &str, key: Digest) -> Result<(), StoreError> {
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

    /// Moves an entry that lacks content out of the way, as far as that is possible.
    fn set_aside(&self, entry: &Entry) {
        if !self.read_only {
            for repository in self.repositories() {
                // What stays where it is shows again.
                let _ = repository.backend.set_aside(&entry.path);
            }
        }
    }

    fn repositories(&self) -> impl Iterator<Item = &Repository> {
        std::iter::once(&self.local).chain(&self.remote)
    }

    /// Fails for content of so many bytes, if that is more than the whole store may hold.
    ///
    /// # Errors
    ///
    /// Fails with [`StoreError::TooLarge`] alone.
    pub(crate) fn check_size(&self, bytes: u64) -> Result<(), StoreError> {
        match self.max_bytes {
            Some(limit) if bytes > limit => Err(StoreError::TooLarge { bytes, limit }),
            _ => Ok(()),
        }
    }

    fn refuse_if_too_large(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut chunks: Vec<&ChunkRef> = manifest.chunks.iter().collect();
        chunks.sort_unstable_by_key(|chunk| chunk.digest);
        chunks.dedup_by_key(|chunk| chunk.digest);
        self.check_size(chunks.iter().map(|chunk| u64::from(chunk.stored)).sum())
    }

    /// Removes all but the newest entry of an address; the faults that left some. Who reads one of them has its
    /// manifest, and its chunks stay until they are swept. What somebody has signed is left to who demands that.
    fn forget_old_versions(&self, address: &Address) -> Vec<StoreError> {
        let is_signed = self.trust.public_key().is_some();
        let forget = |repository: &Repository| {
            for name in repository.versions(address)?.iter().skip(1) {
                if is_signed || !repository.is_signed(name)? {
                    repository.remove_entry(name)?;
                }
            }
            Ok(())
        };
        self.repositories().filter_map(|repository| forget(repository).err()).collect()
    }
}

#[cfg(test)]
mod tests;
