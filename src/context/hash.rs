//! Digests everything that a build can see, on all cores. Digests never depend on times, owners or order.
//!
//! A digest covers the data that are copied into an image: the content of a file, the target of a link, or the numbers
//! of a device. Kind, permission bits and extended attributes are separate fields. A hard link counts as a separate
//! file, and a socket as the empty file that an engine makes of it.
//!
//! The label that a security module stores in an attribute does not count: it depends on the location of the file,
//! differs between containers, and is never copied to a layer.

use std::collections::{BTreeMap, HashMap};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::error::{ContextError, is_absent};
use super::file_digest::{FileDigest, FileKind};
use super::stat;
use super::stat_index::StatIndex;
use super::walk::{ContextEntry, ContextEntryKind};
use crate::digest::Digest;

/// Large enough to read most source files at once, and small enough to stay in a core's cache until it is digested.
const BUFFER: usize = 256 * 1024;

const LABELS: [&str; 2] = ["security.selinux", "security.SMACK64"];

/// Sorts `entries` by path and digests them in that order. Files that `index` contains unchanged are not read.
///
/// Fails with the path of a file that cannot be read, or that was removed or changed since the walk (by inode, size and
/// modification time).
pub(crate) fn digest_entries(
    entries: &mut [ContextEntry],
    index: &StatIndex,
) -> Result<Vec<FileDigest>, ContextError> {
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut digests: Vec<FileDigest> = entries.iter().map(describe).collect();
    let twins = hard_link_targets(entries);
    let mut files = Vec::new();
    for (number, (entry, digest)) in entries.iter().zip(&mut digests).enumerate() {
        let known = index.known(entry);
        digest.xattrs =
            known.map_or_else(|| digest_attributes(stat::xattrs(&entry.absolute)), |known| known.xattrs);
        match known {
            Some(known) => digest.digest = known.digest,
            None if entry.metadata.is_file() && !twins.contains_key(&number) => files.push(number),
            None => {}
        }
    }
    // The largest files come first, so that no core is still busy with one at the end.
    files.sort_by_key(|number| std::cmp::Reverse(entries[*number].size()));
    for (number, digest) in digest_files(entries, &files)? {
        digests[number].digest = digest;
    }
    for (number, first) in twins {
        digests[number].digest = digests[first].digest;
    }
    Ok(digests)
}

/// Returns one digest of all extended attributes that count, or `None` if there are none. Each name and value is
/// preceded by its length.
pub(super) fn digest_attributes(mut attributes: BTreeMap<String, Vec<u8>>) -> Option<Digest> {
    attributes.retain(|name, _| !LABELS.contains(&name.as_str()));
    if attributes.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for field in attributes.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        bytes.extend((field.len() as u64).to_le_bytes());
        bytes.extend(field);
    }
    Some(Digest::of(&bytes))
}

/// Returns all properties that the metadata contain: everything except the content and attributes of a file.
fn describe(entry: &ContextEntry) -> FileDigest {
    let numbers = || {
        let (major, minor) = stat::device(&entry.metadata);
        Digest::of(format!("{major}:{minor}").as_bytes())
    };
    let nothing = Digest::of(b"");
    // A hard link is described by the metadata that it shares with its target.
    let kind = match &entry.kind {
        ContextEntryKind::HardLink(_) => &ContextEntryKind::of(&entry.metadata),
        kind => kind,
    };
    let (kind, digest, size) = match kind {
        ContextEntryKind::File | ContextEntryKind::HardLink(_) => (FileKind::File, nothing, entry.size()),
        ContextEntryKind::Socket => (FileKind::File, nothing, 0),
        ContextEntryKind::Directory => (FileKind::Directory, nothing, 0),
        ContextEntryKind::Symlink(target) => {
            (FileKind::Symlink, Digest::of(target.as_bytes()), target.len() as u64)
        }
        ContextEntryKind::Fifo => (FileKind::Fifo, nothing, 0),
        ContextEntryKind::CharDevice => (FileKind::CharDevice, numbers(), 0),
        ContextEntryKind::BlockDevice => (FileKind::BlockDevice, numbers(), 0),
    };
    let mode = if kind == FileKind::Symlink { 0o777 } else { entry.metadata.mode() & 0o7777 };
    FileDigest { path: entry.path.clone(), kind, mode, digest, xattrs: None, size }
}

/// Returns the index of each hard link in the sorted `entries` with the index of its target, if that is in `entries`.
fn hard_link_targets(entries: &[ContextEntry]) -> HashMap<usize, usize> {
    let find = |path: &String| entries.binary_search_by(|entry| entry.path.cmp(path)).ok();
    let target = |(index, entry): (usize, &ContextEntry)| match &entry.kind {
        ContextEntryKind::HardLink(first) => Some((index, find(first)?)),
        _ => None,
    };
    entries.iter().enumerate().filter_map(target).collect()
}

/// Digests the content of the `files` among `entries`, starting in that order. Returns the digests by index.
fn digest_files(entries: &[ContextEntry], files: &[usize]) -> Result<Vec<(usize, Digest)>, ContextError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let cursor = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        let mut own = Vec::new();
        while let Some(index) = files.get(cursor.fetch_add(1, Ordering::Relaxed)) {
            let digest = digest_content(&entries[*index], &mut buffer);
            // After an error, the other threads stop.
            own.push((*index, digest.inspect_err(|_| cursor.store(files.len(), Ordering::Relaxed))?));
        }
        Ok::<_, ContextError>(own)
    };
    let workers = cores.min(files.len());
    if workers < 2 {
        return work();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(files.len());
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// Digests the content of a file, and checks that the file did not change since the walk.
fn digest_content(entry: &ContextEntry, buffer: &mut [u8]) -> Result<Digest, ContextError> {
    let changed = || ContextError::Changed { path: entry.absolute.clone() };
    let failed = |error: io::Error| match error {
        error if is_absent(&error) => ContextError::Vanished { path: entry.absolute.clone() },
        // The file has been replaced by a link, which must not be followed.
        error if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => changed(),
        error => ContextError::unreadable(&entry.absolute, error),
    };
    // Without waiting for the other end of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&entry.absolute);
    let mut file = opened.map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut left = entry.size();
    loop {
        let read = match file.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(&buffer[..read]);
        match left.checked_sub(read as u64) {
            Some(rest) if read > 0 => left = rest,
            Some(0) => break,
            _ => return Err(changed()),
        }
        // After a short read of the expected size, a read at the end of the file is not necessary.
        if left == 0 && read < buffer.len() {
            break;
        }
    }
    let now = file.metadata().map_err(failed)?;
    if is_same(&now, &entry.metadata) {
        Ok(Digest::from(<[u8; 32]>::from(hasher.finalize())))
    } else {
        Err(changed())
    }
}

fn is_same(now: &Metadata, then: &Metadata) -> bool {
    let identity = |metadata: &Metadata| {
        (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
    };
    identity(now) == identity(then)
}
