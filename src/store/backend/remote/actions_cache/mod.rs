//! The cache of GitHub Actions as an object store.
//!
//! ```text
//! read, size ──▶ OpenDAL's ghac ──▶ cache service: key and version → a signed address ──▶ blob
//! write ───────▶ replacement ─┬─▶ OpenDAL's ghac
//! list, remove ─▶ entries ◀───┘ ──▶ REST API: GET and DELETE /repos/…/actions/caches
//! ```
//!
//! OpenDAL's service reads and writes; this layer above it adds listing, replacing and removing:
//!
//! - An entry belongs to the ref of the job that wrote it. A job reads the entries of its own ref, of the target branch
//!   of its pull request and of the default branch, in this order. Entries of other refs are not listed, although the
//!   API returns them.
//! - An entry is immutable. Replacing an object removes its entry first, so that the object may be absent for a moment.
//! - If no entry has exactly the requested key, the service uses the key as a prefix. No key of larder is a prefix of a
//!   different one (see `name`), so that a wrong object is never returned.

mod entries;
mod job;
mod names;
mod replacement;

use std::sync::Arc;
use std::vec;

use opendal::raw::{
    Layer, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite, RpCreateDir,
    RpPresign, RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
};
use opendal::{Capability, Error, ErrorKind, MetadataBuilder, OperationContext, Result};

use self::entries::ActionsCacheEntries;
pub use self::job::ActionsJob;
pub(super) use self::job::CacheJob;
use self::names::EntryNames;
use self::replacement::EntryReplacement;

/// The version of all entries that larder writes, which separates them from those of other programs.
pub(super) const VERSION: &str = "larder";

#[derive(Debug)]
pub(super) struct ActionsCacheLayer {
    names: EntryNames,
    job: Arc<CacheJob>,
}

impl ActionsCacheLayer {
    pub(super) fn new(job: CacheJob, prefix: &str) -> Self {
        Self { names: EntryNames::below(prefix), job: Arc::new(job) }
    }
}

impl Layer for ActionsCacheLayer {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        let entries = ActionsCacheEntries::new(Arc::clone(&self.job), &inner.info().name());
        Arc::new(ActionsCache { names: self.names.clone(), entries: Arc::new(entries), inner })
    }
}

#[derive(Debug)]
struct ActionsCache {
    names: EntryNames,
    entries: Arc<ActionsCacheEntries>,
    inner: Servicer,
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "GitHub's cache does not support this operation"))
}

impl Service for ActionsCache {
    type Reader = oio::Reader;
    type Writer = oio::OneShotWriter<EntryReplacement>;
    type Lister = EntryListing;
    type Deleter = oio::OneShotDeleter<EntryRemoval>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        Capability {
            write_can_empty: true,
            write_can_multi: false,
            list: true,
            list_with_recursive: true,
            delete: true,
            ..self.inner.capability()
        }
    }

    async fn stat(&self, context: &OperationContext, path: &str, how: OpStat) -> Result<RpStat> {
        self.inner.stat(context, &self.names.key(path), how).await
    }

    fn read(&self, context: &OperationContext, path: &str, how: OpRead) -> Result<Self::Reader> {
        self.inner.read(context, &self.names.key(path), how)
    }

    fn write(&self, context: &OperationContext, path: &str, _: OpWrite) -> Result<Self::Writer> {
        Ok(oio::OneShotWriter::new(EntryReplacement {
            inner: Arc::clone(&self.inner),
            entries: Arc::clone(&self.entries),
            context: context.clone(),
            key: self.names.key(path),
        }))
    }

    fn list(&self, context: &OperationContext, path: &str, how: OpList) -> Result<Self::Lister> {
        if !how.recursive() {
            return unsupported();
        }
        Ok(EntryListing {
            names: self.names.clone(),
            entries: Arc::clone(&self.entries),
            context: context.clone(),
            directory: if path == "/" { String::new() } else { path.to_owned() },
            found: None,
        })
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(EntryRemoval {
            names: self.names.clone(),
            entries: Arc::clone(&self.entries),
            context: context.clone(),
        }))
    }

    async fn create_dir(&self, _: &OperationContext, _: &str, _: OpCreateDir) -> Result<RpCreateDir> {
        unsupported()
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<Self::Copier> {
        unsupported()
    }

    async fn rename(&self, _: &OperationContext, _: &str, _: &str, _: OpRename) -> Result<RpRename> {
        unsupported()
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        unsupported()
    }
}

/// The listing of a directory, requested when its first entry is needed.
struct EntryListing {
    names: EntryNames,
    entries: Arc<ActionsCacheEntries>,
    context: OperationContext,
    directory: String,
    found: Option<vec::IntoIter<oio::Entry>>,
}

impl EntryListing {
    async fn find(&self) -> Result<vec::IntoIter<oio::Entry>> {
        let below = self.names.keys_below(&self.directory);
        let mut objects: Vec<oio::Entry> = Vec::new();
        let mut before = None;
        for entry in self.entries.find(&self.context, &below).await? {
            // The job reads only the first entry of a key.
            if before.as_ref() == Some(&entry.key) {
                continue;
            }
            if let Some(path) = self.names.path(&entry.key) {
                objects.push(oio::Entry::with(path, MetadataBuilder::file(entry.size_in_bytes).build()));
            }
            before = Some(entry.key);
        }
        Ok(objects.into_iter())
    }
}

impl oio::List for EntryListing {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        if self.found.is_none() {
            self.found = Some(self.find().await?);
        }
        Ok(self.found.as_mut().and_then(Iterator::next))
    }
}

/// The removal of objects. Removes their entries of all refs that the job reads.
struct EntryRemoval {
    names: EntryNames,
    entries: Arc<ActionsCacheEntries>,
    context: OperationContext,
}

impl oio::OneShotDelete for EntryRemoval {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        let key = self.names.key(&path);
        for entry in self.entries.find(&self.context, &key).await? {
            self.entries.remove(&self.context, &entry).await?;
        }
        Ok(())
    }
}
