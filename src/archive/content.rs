//! Reads the content of files, and ensures that each file did not change while it was read. Never follows a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::confined_root::{ConfinedRoot, if_present, stamp};
use super::listing::{FileData, Node, NodeKind};
use super::walk::{LeftOutReason, node};
use super::xattrs;
use crate::context::Stamp;
use crate::store::{CopyError, Meter, MeteredReader, Save, StoreError};

/// Files smaller than this, in bytes, share chunks.
pub(crate) const SMALL: u64 = 256 * 1024;
/// The number of attempts to read a file that changes while it is read.
const ATTEMPTS: usize = 3;

/// Adds the content of the file at `path` to the save. Returns its node at the time of the read, and its stamp if later
/// changes are sure to alter the stamp. Fails only if the store fails; a file that cannot be read is left out.
pub(super) fn add(
    save: &mut Save,
    beneath: &mut ConfinedRoot,
    path: &OsStr,
    meter: &Meter,
) -> Result<Result<(Node, Option<Stamp>), LeftOutReason>, StoreError> {
    let unreadable = |error: io::Error| Ok(Err(LeftOutReason::Unreadable(error.to_string())));
    for _ in 0..ATTEMPTS {
        let read = SystemTime::now();
        let (file, metadata) = match open(beneath, path) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Err(LeftOutReason::Vanished)),
            Err(error) => return unreadable(error),
        };
        match write(save, &file, &metadata, meter) {
            Ok(Some(data)) => {
                let stamp = stamp(&metadata);
                let node = node(path, NodeKind::File(data), &metadata, xattrs::of(&file));
                return Ok(Ok((node, stamp.detects_changes_after(read).then_some(stamp))));
            }
            Ok(None) => {}
            Err(CopyError::Reader(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(CopyError::Reader(error)) => return unreadable(error),
            Err(CopyError::Store(error)) => return Err(error),
        }
    }
    Ok(Err(LeftOutReason::Changing))
}

/// Opens the file. Returns `None` if it is no longer a regular file.
fn open(beneath: &mut ConfinedRoot, path: &OsStr) -> io::Result<Option<(File, Metadata)>> {
    let open = |flags: OFlags, beneath: &mut ConfinedRoot| {
        let (parent, name) = beneath.parent(path)?;
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).custom_flags(flags.bits().cast_signed());
        parent.open_with(name, &options)
    };
    // Saving must not update the access time. Only the owner of a file may request that.
    let opened = match open(OFlags::NONBLOCK | OFlags::NOATIME, beneath) {
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            open(OFlags::NONBLOCK, beneath)
        }
        opened => opened,
    };
    let Some(file) = if_present(opened)? else { return Ok(None) };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| (file.into_std(), metadata)))
}

/// Writes the content of the file. Returns `None` if the file has changed since its metadata were read. Fails with
/// [`io::ErrorKind::UnexpectedEof`] if it was truncated.
fn write(
    save: &mut Save,
    file: &File,
    metadata: &Metadata,
    meter: &Meter,
) -> Result<Option<FileData>, CopyError> {
    let size = metadata.len();
    let data = segments(file, metadata)?;
    let mut kept =
        FileData { size, used: metadata.atime(), at: save.position(), data, ..FileData::default() };
    let unchanged = || Ok::<_, io::Error>(stamp(&Metadata::from_file(file)?) == stamp(metadata));
    if size < SMALL {
        // A small file is read completely before it is written, so that inconsistent content never reaches the store.
        let mut bytes = Vec::new();
        for (offset, size) in kept.segments() {
            meter.check()?;
            let start = bytes.len();
            bytes.resize(start + usize::try_from(size).map_err(io::Error::other)?, 0);
            file.read_exact_at(&mut bytes[start..], offset)?;
        }
        if !unchanged()? {
            return Ok(None);
        }
        save.write(&bytes)?;
        meter.add(bytes.len() as u64);
        return Ok(Some(kept));
    }
    save.boundary()?;
    kept.at = save.position();
    for (offset, size) in kept.segments() {
        let mut reader = file;
        reader.seek(SeekFrom::Start(offset))?;
        save.copy_from(&mut MeteredReader { inner: reader, meter }, size)?;
    }
    save.boundary()?;
    Ok(unchanged()?.then_some(kept))
}

/// Returns offset and size of each part between the holes of a file, or `None` if the file has no holes.
fn segments(file: &File, metadata: &Metadata) -> io::Result<Option<Vec<(u64, u64)>>> {
    use rustix::fs::SeekFrom::{Data, Hole};
    let size = metadata.len();
    if metadata.blocks().saturating_mul(512) >= size {
        return Ok(None);
    }
    let mut segments = Vec::new();
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(file, Data(end)) {
            Ok(start) => start,
            // There is no data after this offset.
            Err(Errno::NXIO) => break,
            // The file system does not report holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        end = rustix::fs::seek(file, Hole(start))?.min(size);
        if start >= end {
            break;
        }
        segments.push((start, end - start));
    }
    let dense = segments == [(0, size)];
    Ok((!dense).then_some(segments))
}
