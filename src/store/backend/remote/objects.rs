//! Asynchronous operations on objects, through OpenDAL.
//!
//! A WebDAV server has directories, and keeps partial uploads of clients that died. On such a server, objects are
//! written to `tmp/` and then moved, and directories are listed level by level, many at the same time. Some of these
//! servers remove the destination before they move, so that an object that is replaced may be absent for a moment, but
//! never incomplete.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use opendal::{Buffer, Entry, EntryMode, ErrorKind, Operator};

use super::call::without_recording;
use crate::store::backend::BackendObject;

const TEMPORARY: &str = "tmp";
const DAMAGED: &str = "damaged";
/// The maximum age of temporary objects that may still be in use.
const TEMPORARY_LIFETIME: Duration = Duration::from_hours(6);
/// The maximum size in bytes of a damaged object that is moved by download and upload if the service cannot copy.
pub(super) const MAX_MOVE_SIZE: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct RemoteObjects {
    operator: Operator,
    has_directories: bool,
    pub(super) parallelism: usize,
}

pub(super) fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("every system that larder runs on has random numbers");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn ignore_missing(done: opendal::Result<()>) -> opendal::Result<()> {
    done.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

impl RemoteObjects {
    pub(super) fn new(operator: Operator, parallelism: usize) -> Self {
        let has_directories = operator.info().scheme() == "webdav";
        Self { operator, has_directories, parallelism: parallelism.max(1) }
    }

    /// Reads an object. The transport enforces the limit; `limit` is for services without a transport.
    pub(super) async fn read(&self, path: &str, limit: u64) -> opendal::Result<Vec<u8>> {
        let content = self.operator.read(path).await?;
        if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
            return Err(opendal::Error::new(ErrorKind::Unexpected, "it is too large"));
        }
        Ok(content.to_vec())
    }

    pub(super) async fn write(&self, path: &str, content: Vec<u8>) -> opendal::Result<()> {
        if !self.has_directories {
            return self.operator.write(path, content).await.map(drop);
        }
        let temporary = format!("{TEMPORARY}/{}", random_id());
        let written = self.operator.write(&temporary, content).await.map(drop);
        let moved = match written {
            Ok(()) => self.operator.rename(&temporary, path).await,
            failed => failed,
        };
        if moved.is_err() {
            // If this fails, `tidy` removes the object later.
            let _ = without_recording(self.operator.delete(&temporary)).await;
        }
        moved
    }

    pub(super) async fn list(&self, prefix: &str) -> opendal::Result<Vec<BackendObject>> {
        let directory =
            if prefix.is_empty() { "/".to_owned() } else { format!("{}/", prefix.trim_end_matches('/')) };
        let entries = if self.has_directories {
            self.list_levels(directory).await?
        } else {
            self.entries(directory, true).await?
        };
        let objects = entries.into_iter().map(|entry| async move {
            let size = match entry.metadata().mode() {
                EntryMode::FILE => Some(entry.metadata().content_length()),
                EntryMode::DIR => None,
                EntryMode::Unknown => self.size(entry.path()).await?,
            };
            Ok(size.map(|size| BackendObject { path: entry.path().to_owned(), size }))
        });
        let objects: Vec<_> = stream::iter(objects).buffer_unordered(self.parallelism).try_collect().await?;
        Ok(objects.into_iter().flatten().collect())
    }

    async fn entries(&self, directory: String, recursive: bool) -> opendal::Result<Vec<Entry>> {
        let lister = self.operator.lister_with(&directory).recursive(recursive).await;
        match lister {
            Ok(lister) => lister.try_collect().await,
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn list_levels(&self, directory: String) -> opendal::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut level = vec![directory];
        while !level.is_empty() {
            let listings = level.into_iter().map(|directory| async {
                let entries = self.entries(directory.clone(), false).await?;
                Ok::<_, opendal::Error>((directory, entries))
            });
            let listings: Vec<_> =
                stream::iter(listings).buffer_unordered(self.parallelism).try_collect().await?;
            level = Vec::new();
            for (directory, entries) in listings {
                for entry in entries {
                    if !entry.metadata().is_dir() {
                        found.push(entry);
                    } else if entry.path() != directory {
                        level.push(entry.path().to_owned());
                    }
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn size(&self, path: &str) -> opendal::Result<Option<u64>> {
        match self.operator.stat(path).await {
            Ok(metadata) => Ok(metadata.is_file().then(|| metadata.content_length())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove(&self, path: &str) -> opendal::Result<()> {
        ignore_missing(self.operator.delete(path).await)
    }

    pub(super) async fn set_aside(&self, path: &str) -> opendal::Result<()> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let aside = format!("{DAMAGED}/{name}");
        let can = self.operator.info().capability();
        if can.rename {
            return ignore_missing(self.operator.rename(path, &aside).await);
        }
        if can.copy {
            match self.operator.copy(path, &aside).await {
                Ok(_) => return self.remove(path).await,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                // A service may announce an operation and not support it.
                Err(_) => {}
            }
        }
        match self.operator.read(path).await {
            Ok(content) => self.operator.write(&aside, Buffer::clone(&content)).await?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.remove(path).await
    }

    /// Removes the parts of a mark, and its directory if the service has directories.
    pub(super) async fn remove_marks(
        &self,
        mark: &str,
        numbers: impl IntoIterator<Item = u64>,
    ) -> opendal::Result<()> {
        let removed = numbers.into_iter().map(|number| {
            let path = format!("{mark}/{number:08}");
            async move { self.remove(&path).await }
        });
        let () = stream::iter(removed).buffer_unordered(self.parallelism).try_collect().await?;
        if self.has_directories {
            return self.remove(&format!("{mark}/")).await;
        }
        Ok(())
    }

    pub(super) async fn tidy(&self, now: Timestamp) -> opendal::Result<()> {
        if !self.has_directories {
            return Ok(());
        }
        for entry in self.entries(format!("{TEMPORARY}/"), false).await? {
            let age = entry.metadata().last_modified().map(|time| now.duration_since(time.into_inner()));
            if !entry.metadata().is_dir() && age.is_some_and(|age| age.unsigned_abs() > TEMPORARY_LIFETIME) {
                self.remove(entry.path()).await?;
            }
        }
        Ok(())
    }
}
