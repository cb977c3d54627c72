//! Writes an object that may exist already.
//!
//! The service creates an entry, returns an address for the upload, and reads the entry after the upload is declared
//! complete. From its creation on, it rejects other entries of the same key. A second writer therefore waits for the
//! first one, keeps the entry if its content is the same, and removes it otherwise. A writer that dies during the
//! upload blocks its key for up to a day.

use std::sync::Arc;

use opendal::BytesRange;
use opendal::raw::oio::{self, Read as _, ReadStream as _, Write as _};
use opendal::raw::{OpRead, OpWrite, Service as _, Servicer};
use opendal::{Buffer, ErrorKind, Metadata, MetadataBuilder, OperationContext, Result};
use tokio::time::sleep;

use super::entries::{ActionsCacheEntries, ActionsCacheEntry};
use crate::http_retry::pause_after;
use crate::store::backend::remote::call::has_time;

/// The maximum number of attempts to create an entry that a different job is creating; they take about ten seconds.
const ATTEMPTS: u32 = 7;

pub(super) struct EntryReplacement {
    pub(super) inner: Servicer,
    pub(super) entries: Arc<ActionsCacheEntries>,
    pub(super) context: OperationContext,
    pub(super) key: String,
}

impl EntryReplacement {
    async fn create(&self, content: Buffer) -> Result<Metadata> {
        let mut writer = self.inner.write(&self.context, &self.key, OpWrite::new())?;
        writer.write(content).await?;
        writer.close().await
    }

    async fn has_content(&self, entry: &ActionsCacheEntry, content: &Buffer) -> Result<bool> {
        if usize::try_from(entry.size_in_bytes) != Ok(content.len()) {
            return Ok(false);
        }
        let reader = self.inner.read(&self.context, &self.key, OpRead::new())?;
        match reader.open(BytesRange::default()).await {
            Ok((_, mut stream)) => Ok(stream.read_all().await?.to_bytes() == content.to_bytes()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl oio::OneShotWrite for EntryReplacement {
    async fn write_once(&self, content: Buffer) -> Result<Metadata> {
        let mut attempt = 1;
        loop {
            let pause = pause_after(attempt);
            match self.create(content.clone()).await {
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS && has_time(pause) => {}
                done => return done,
            }
            match self.entries.own_entry(&self.context, &self.key).await? {
                Some(entry) if self.has_content(&entry, &content).await? => {
                    return Ok(MetadataBuilder::file(entry.size_in_bytes).build());
                }
                Some(entry) => self.entries.remove(&self.context, &entry).await?,
                None => sleep(pause).await,
            }
            attempt += 1;
        }
    }
}
