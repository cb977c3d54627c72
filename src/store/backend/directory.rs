//! A backend in a directory: on a local disk, or on a share that several machines mount.
//!
//! ```text
//! <root>/
//!   tmp/…            objects being written; renamed when they are complete
//!   <directory>/…    a mark is a file that its owner has locked
//! ```
//!
//! On a file system without locks, a mark expires when nothing was added to it for [`MARK_LIFETIME`].

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::{Backend, BackendError, BackendObject, DiskSpace, FaultReason, Mark};
use crate::regular_file::{self, PRIVATE, PendingFile};

/// The time after which a mark without a lock, or a temporary file of a dead process, is removed.
const MARK_LIFETIME: Duration = Duration::from_hours(1);
const TEMPORARY_DIRECTORY: &str = "tmp";
const DAMAGED_DIRECTORY: &str = "damaged";

/// Stores objects as files below a directory that is created on the first write, without access for other users.
#[derive(Debug, Clone)]
pub struct DirectoryBackend {
    root: PathBuf,
    /// A directory that must exist, so that an unmounted share is not replaced by a local directory.
    share: Option<PathBuf>,
}

impl DirectoryBackend {
    /// Creates a backend below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), share: None }
    }

    /// Creates a backend below `root` in the shared directory `share`, which must exist.
    pub(crate) fn shared(share: &Path, root: &Path) -> Self {
        Self { root: root.to_owned(), share: Some(share.to_owned()) }
    }

    /// Runs an operation if the share is mounted.
    fn run<T>(
        &self,
        action: &'static str,
        path: &str,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, BackendError> {
        let done = match self.share.as_ref().filter(|share| !share.is_dir()) {
            None => operation(),
            Some(share) => {
                let reason = format!("{} does not exist: create or mount it", share.display());
                Err(io::Error::new(io::ErrorKind::HostUnreachable, reason))
            }
        };
        done.map_err(|source| self.backend_error(action, path, source))
    }

    fn backend_error(&self, action: &'static str, path: &str, source: io::Error) -> BackendError {
        let (path, place, reason) = (path.to_owned(), self.place(), FaultReason::of(&source));
        BackendError { action, path, place, reason, source: source.into() }
    }

    /// Calls `create`; if the directory of `path` is missing, creates it and calls `create` again.
    fn create_in_directory<T>(path: &Path, create: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent().unwrap_or(path);
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
                create()
            }
            result => result,
        }
    }

    fn temporary_file(&self) -> io::Result<tempfile::NamedTempFile> {
        let directory = self.root.join(TEMPORARY_DIRECTORY);
        let create = || tempfile::Builder::new().prefix("").tempfile_in(&directory);
        Self::create_in_directory(&directory.join("x"), create)
    }

    fn write_file(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let directory = self.root.join(TEMPORARY_DIRECTORY);
        let create = || PendingFile::create_in(&directory, path, PRIVATE);
        let mut file = Self::create_in_directory(&directory.join("x"), create)?;
        file.write_all(content)?;
        file.sync()?;
        file.replace()
    }

    fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = regular_file::open(path)?;
        let size = file.metadata()?.len();
        if size > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it has {size} bytes, more than the limit of {limit}"),
            ));
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(limit).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Returns the text of the mark at `path`. If its owner is dead, removes the mark and returns `None`.
    fn read_mark(path: &Path) -> io::Result<Option<String>> {
        let mut file = regular_file::open(path)?;
        let alive = match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => false,
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => true,
            Err(_) => is_recent(&file.metadata()?),
        };
        if !alive {
            fs::remove_file(path)?;
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(Some(text))
    }
}

impl Backend for DirectoryBackend {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn parallelism(&self) -> usize {
        4
    }

    fn space(&self) -> Option<DiskSpace> {
        // The root is created on the first write.
        let there = self.root.ancestors().find(|path| path.exists())?;
        let found = rustix::fs::statvfs(there).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BackendError> {
        self.run("read", path, || absent_is_none(Self::read_file(&self.root.join(path), limit)))
    }

    fn size(&self, path: &str) -> Result<Option<u64>, BackendError> {
        let size = || fs::symlink_metadata(self.root.join(path)).map(|metadata| metadata.len());
        self.run("read", path, || absent_is_none(size()))
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.run("write", path, || self.write_file(&self.root.join(path), content))
    }

    /// Syncs the directory: the contents are synced already, and renames are journalled in order.
    fn sync(&self, directory: &str) -> Result<(), BackendError> {
        self.run("write to", directory, || File::open(self.root.join(directory))?.sync_all())
    }

    fn list(&self, prefix: &str) -> Result<Vec<BackendObject>, BackendError> {
        self.run("list", prefix, || {
            let mut objects = Vec::new();
            for entry in walkdir::WalkDir::new(self.root.join(prefix)) {
                match entry.and_then(|entry| Ok((entry.metadata()?, entry))) {
                    Ok((_, entry)) if entry.depth() == 0 && !entry.file_type().is_dir() => {
                        let reason = "it is a file, not a directory";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                    }
                    Ok((metadata, entry)) if !metadata.is_dir() => {
                        let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path());
                        // larder writes UTF-8 names only.
                        if let Some(path) = path.to_str() {
                            objects.push(BackendObject { path: path.to_owned(), size: metadata.len() });
                        }
                    }
                    Ok(_) => {}
                    Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(objects)
        })
    }

    fn remove(&self, path: &str) -> Result<(), BackendError> {
        self.run("remove", path, || absent_is_none(fs::remove_file(self.root.join(path))).map(drop))
    }

    fn set_aside(&self, path: &str) -> Result<(), BackendError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let aside = self.root.join(DAMAGED_DIRECTORY).join(name);
        let rename = || fs::rename(self.root.join(path), &aside);
        self.run("remove", path, || absent_is_none(Self::create_in_directory(&aside, rename)).map(drop))
    }

    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError> {
        self.run("write to", directory, || {
            let mut file = self.temporary_file()?;
            // On a file system without locks, the modification time is used.
            let _ = flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
            file.write_all(text.as_bytes())?;
            let name = file.path().file_name().unwrap_or_default().to_owned();
            let path = self.root.join(directory).join(name);
            let (file, temporary) = file.into_parts();
            Self::create_in_directory(&path, || fs::rename(&temporary, &path))?;
            drop(temporary.keep());
            Ok(Box::new(LockedFile { backend: self.clone(), file, path }) as Box<dyn Mark>)
        })
    }

    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError> {
        self.run("read", directory, || {
            let Some(entries) = absent_is_none(fs::read_dir(self.root.join(directory)))? else {
                return Ok(Vec::new());
            };
            let mut texts = Vec::new();
            for entry in entries {
                texts.extend(absent_is_none(Self::read_mark(&entry?.path()))?.flatten());
            }
            Ok(texts)
        })
    }

    fn remove_stale_temporaries(&self) -> Result<(), BackendError> {
        let remove = || {
            for entry in
                absent_is_none(fs::read_dir(self.root.join(TEMPORARY_DIRECTORY)))?.into_iter().flatten()
            {
                let entry = entry?;
                if !entry.metadata().is_ok_and(|metadata| is_recent(&metadata)) {
                    absent_is_none(fs::remove_file(entry.path()))?;
                }
            }
            Ok(())
        };
        remove().map_err(|error| self.backend_error("remove", TEMPORARY_DIRECTORY, error))
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_recent(metadata: &fs::Metadata) -> bool {
    let age = metadata.modified().map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
    age.is_ok_and(|age| age < MARK_LIFETIME)
}

/// A mark: a file whose lock ends with its process.
#[derive(Debug)]
struct LockedFile {
    backend: DirectoryBackend,
    file: File,
    path: PathBuf,
}

impl Mark for LockedFile {
    fn add(&self, text: &str) -> Result<(), BackendError> {
        let name = self.path.to_string_lossy();
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|error| self.backend.backend_error("write", &name, error))
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // If this fails, the mark counts as dead without its lock, and the next reader removes it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::backend::conformance;

    #[test]
    fn a_directory_passes_the_conformance_suite() {
        let base = tempfile::tempdir().unwrap();
        let backend: Arc<dyn Backend> = Arc::new(DirectoryBackend::new(base.path()));
        conformance::check(&backend, &DirectoryBackend::new(base.path()));
    }

    #[test]
    fn a_pipe_or_directory_in_place_of_a_file_counts_as_damaged_and_does_not_block() {
        let base = tempfile::tempdir().unwrap();
        let backend = DirectoryBackend::new(base.path());
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, base.path().join("pipe"), pipe, 0o600.into(), 0).unwrap();
        fs::create_dir(base.path().join("directory")).unwrap();
        for path in ["pipe", "directory"] {
            assert_eq!(backend.read(path, 10).unwrap_err().reason, FaultReason::Damaged, "{path}");
        }
    }
}
