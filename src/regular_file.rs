//! Regular files: written completely or not at all, and opened without blocking.
//!
//! This is the only place that writes a file beside its path and renames it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

/// The mode of files that only their owner may read.
pub(crate) const PRIVATE: u32 = 0o600;
/// The mode of files that everybody may read, as far as the umask permits.
pub(crate) const PUBLIC: u32 = 0o666;

/// A file that is being written. It is removed if it is dropped before it has replaced the file at its path.
#[derive(Debug)]
pub(crate) struct PendingFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl PendingFile {
    /// Creates a temporary file in the directory of `path`, which must exist.
    pub(crate) fn create(path: &Path, mode: u32) -> io::Result<Self> {
        Self::create_in(directory_of(path), path, mode)
    }

    /// Creates a temporary file in a directory of the same file system.
    pub(crate) fn create_in(directory: &Path, path: &Path, mode: u32) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let file =
            builder.prefix(".new-").permissions(Permissions::from_mode(mode)).tempfile_in(directory)?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Makes the content and the new name durable, and replaces the file at the path.
    pub(crate) fn commit(self) -> io::Result<()> {
        self.sync()?;
        let directory = directory_of(&self.path).to_owned();
        self.replace()?;
        File::open(directory)?.sync_all()
    }

    /// Like [`commit`](Self::commit), but fails with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is a file
    /// at the path.
    pub(crate) fn commit_new(self) -> io::Result<()> {
        self.sync()?;
        self.file.persist_noclobber(&self.path)?;
        File::open(directory_of(&self.path))?.sync_all()
    }

    /// Makes the content durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_file().sync_all()
    }

    /// Replaces the file at the path; a missing directory is created without access for other users. Without a
    /// [`sync`](Self::sync), the content may be incomplete after a crash of the machine.
    pub(crate) fn replace(self) -> io::Result<()> {
        match self.file.persist(&self.path) {
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => {
                let directory = directory_of(&self.path);
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
                error.file.persist(&self.path)?;
            }
            result => drop(result?),
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a file completely or not at all. Its directory must exist.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = PendingFile::create(path, mode)?;
    file.write_all(content)?;
    file.commit()
}

/// Appends a line of JSON with a single write, so that the lines of concurrent jobs are not interleaved.
pub(crate) fn append_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    OpenOptions::new().create(true).append(true).mode(PRIVATE).open(path)?.write_all(&line)
}

/// Opens a regular file. For anything else, such as a pipe without a writer, the error is
/// [`InvalidData`](io::ErrorKind::InvalidData).
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_when_it_is_committed_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, b"old", PRIVATE).unwrap();
        let mut pending = PendingFile::create(&path, PUBLIC).unwrap();
        pending.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, PRIVATE);
        drop(pending);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
        let mut pending = PendingFile::create(&path, PRIVATE).unwrap();
        pending.write_all(b"new").unwrap();
        assert_eq!(pending.commit_new().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        write(&path, b"new", PRIVATE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(open(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(open(&directory.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
