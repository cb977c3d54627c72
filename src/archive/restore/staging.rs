//! Writes files to a staging directory, each named by its index in the listing, until all are complete.
//!
//! The directory is locked while the restore runs; an unlocked one is left over from an interrupted run. Data is only
//! written to files that were created here, even if other processes replace them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, MetadataExt as _, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps, flock};
use rustix::io::Errno;

use super::file_ranges::{FileRange, FileRanges};
use crate::archive::confined_root::open_as_file;
use crate::archive::listing::{FileData, Listing, Node, NodeKind};
use crate::archive::{STAGING, xattrs};

/// The number of names to try, because a concurrent restore may remove a directory before it is locked.
const ATTEMPTS: usize = 64;

#[derive(Debug)]
pub(super) struct StagingDirectory<'a> {
    temporary: LockedDirectory,
    listing: &'a Listing,
    pieces: &'a FileRanges,
    /// The files that have content, by their index in the listing.
    open: HashMap<usize, OpenFile>,
    can_set_owner: bool,
}

#[derive(Debug)]
struct OpenFile {
    /// The number of bytes that have not been written yet.
    remaining_bytes: AtomicU64,
    /// The inode of the file, or 0 if it is created when its only chunk arrives.
    inode: AtomicU64,
}

impl<'a> StagingDirectory<'a> {
    /// Creates a staging directory with all needed nodes that have no content, and all files that span several chunks.
    pub(super) fn new(
        root: &Dir,
        listing: &'a Listing,
        pieces: &'a FileRanges,
        needed: &[bool],
    ) -> io::Result<Self> {
        let can_set_owner = rustix::process::geteuid().is_root();
        let temporary = LockedDirectory::new(root, 0o700)?;
        let mut staging = Self { temporary, listing, pieces, open: HashMap::new(), can_set_owner };
        let mut chunks_of: HashMap<usize, usize> = HashMap::new();
        for chunk in &pieces.chunks {
            for (_, piece) in pieces.in_chunk(*chunk) {
                *chunks_of.entry(piece.node).or_default() += 1;
            }
        }
        for (place, node) in listing.nodes.iter().enumerate().filter(|(place, _)| needed[*place]) {
            match &node.kind {
                NodeKind::Directory | NodeKind::HardLink { .. } => {}
                NodeKind::Symlink { target } => staging.link(place, node, target)?,
                NodeKind::File(file) => {
                    let stored = file.stored_bytes().unwrap_or_default();
                    if stored == 0 {
                        staging.finish(&staging.create(place)?, node, file)?;
                        continue;
                    }
                    let inode = if chunks_of.get(&place).is_some_and(|parts| *parts > 1) {
                        staging.create(place)?.metadata()?.ino()
                    } else {
                        0
                    };
                    let open =
                        OpenFile { remaining_bytes: AtomicU64::new(stored), inode: AtomicU64::new(inode) };
                    staging.open.insert(place, open);
                }
            }
        }
        Ok(staging)
    }

    pub(super) fn directory(&self) -> &Dir {
        &self.temporary.directory
    }

    pub(super) fn write(&self, chunk: usize, bytes: &[u8]) -> io::Result<()> {
        for (start, piece) in self.pieces.in_chunk(chunk) {
            let size = usize::try_from(piece.size).map_err(io::Error::other)?;
            let part = bytes.get(start..start + size).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.write_piece(piece, part)?;
        }
        Ok(())
    }

    fn write_piece(&self, piece: FileRange, bytes: &[u8]) -> io::Result<()> {
        let unknown = || io::Error::other("a chunk belongs to a file that is not restored");
        let open = self.open.get(&piece.node).ok_or_else(unknown)?;
        let file = match open.inode.load(Ordering::Relaxed) {
            0 => self.create(piece.node)?,
            inode => {
                let mut options = OpenOptions::new();
                options.write(true).follow(FollowSymlinks::No);
                let file = self.directory().open_with(piece.node.to_string(), &options)?.into_std();
                if file.metadata()?.ino() != inode {
                    return Err(io::Error::other("a staged file was replaced by another process"));
                }
                file
            }
        };
        file.write_all_at(bytes, piece.offset)?;
        // The thread that writes the last bytes must see all other writes.
        if open.remaining_bytes.fetch_sub(piece.size, Ordering::AcqRel) == piece.size {
            let node = &self.listing.nodes[piece.node];
            node.file().map_or(Ok(()), |data| self.finish(&file, node, data))?;
        }
        Ok(())
    }

    /// Fails unless all content of every file was written.
    pub(super) fn check_complete(&self) -> io::Result<()> {
        let complete = self.open.values().all(|open| open.remaining_bytes.load(Ordering::Acquire) == 0);
        if complete { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn create(&self, place: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        Ok(self.directory().open_with(place.to_string(), &options)?.into_std())
    }

    /// Sets size, owner, attributes, mode and times of a file whose content is complete.
    fn finish(&self, file: &File, node: &Node, data: &FileData) -> io::Result<()> {
        if data.data.is_some() {
            file.set_len(data.size)?;
        }
        // In this order, no step resets the result of an earlier one.
        if self.can_set_owner {
            ignore_denied(std::os::unix::fs::fchown(file, Some(node.uid), Some(node.gid)))?;
        }
        xattrs::set(file, &node.xattrs)?;
        file.set_permissions(std::fs::Permissions::from_mode(node.mode))?;
        let times = Timestamps {
            last_access: Timespec { tv_sec: data.used, tv_nsec: 0 },
            last_modification: modification_time(node),
        };
        Ok(rustix::fs::futimens(file, &times)?)
    }

    fn link(&self, place: usize, node: &Node, target: &OsStr) -> io::Result<()> {
        let name = place.to_string();
        self.directory().symlink_contents(target, &name)?;
        if self.can_set_owner {
            let (uid, gid) = (rustix::fs::Uid::from_raw(node.uid), rustix::fs::Gid::from_raw(node.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            ignore_denied(
                rustix::fs::chownat(self.directory(), &name, Some(uid), Some(gid), flags).map_err(Into::into),
            )?;
        }
        let time = modification_time(node);
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(self.directory(), &name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A directory in `root`, which is removed with its content when dropped. [`remove_stale`] does not remove it before.
#[derive(Debug)]
pub(super) struct LockedDirectory {
    pub(super) root: Dir,
    pub(super) name: String,
    pub(super) directory: Dir,
    _lock: File,
}

impl Drop for LockedDirectory {
    fn drop(&mut self) {
        // If this fails, the next save or restore removes the directory.
        let _ = self.root.remove_dir_all(&self.name);
    }
}

impl LockedDirectory {
    pub(super) fn new(root: &Dir, mode: u32) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let name = format!("{STAGING}{:016x}", u64::from_le_bytes(random));
            match root.create_dir_with(&name, DirBuilder::new().mode(mode)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            }
            // Until the directory is locked, a concurrent restore may mistake it for a stale one.
            let opened = root.open_dir_nofollow(&name).and_then(|made| Ok((open_as_file(&made)?, made)));
            let (lock, directory) = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            // On a file system without locks, stale directories are never removed. If another process holds this lock, it
            // is about to remove the directory.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                continue;
            }
            let inode = directory.dir_metadata()?.ino();
            if root.symlink_metadata(&name).is_ok_and(|metadata| metadata.ino() == inode) {
                return Ok(Self { root: root.try_clone()?, name, directory, _lock: lock });
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

/// Ignores an error that occurs because the user may not change the owner.
pub(super) fn ignore_denied(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) =>
        {
            Ok(())
        }
        result => result,
    }
}

pub(super) fn modification_time(node: &Node) -> Timespec {
    Timespec { tv_sec: node.mtime.0, tv_nsec: i64::from(node.mtime.1) }
}

/// Removes the staging directories of interrupted restores. Fails if `root` cannot be read. Staging directories that
/// cannot be removed are ignored.
pub(crate) fn remove_stale(root: &Dir) -> io::Result<()> {
    for entry in root.entries()? {
        let name = entry?.file_name();
        if !name.as_bytes().starts_with(STAGING.as_bytes()) {
            continue;
        }
        let Ok(lock) = root.open_dir_nofollow(&name).and_then(|left| open_as_file(&left)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = root.remove_dir_all(&name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn a_staging_directory_in_use_is_never_removed_as_stale() {
        let place = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
        let listing = Listing::default();
        let pieces = FileRanges::new(&listing, &[], &[0]);
        let end = Instant::now() + Duration::from_millis(500);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    while Instant::now() < end {
                        remove_stale(&root).unwrap();
                    }
                });
            }
            while Instant::now() < end {
                let staging = StagingDirectory::new(&root, &listing, &pieces, &[]).unwrap();
                staging.create(0).unwrap();
            }
        });
        assert_eq!(root.entries().unwrap().count(), 0);
    }
}
