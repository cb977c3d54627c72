//! Lists a mount in the order of names.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::super::protocol::{FailureNotes, MAX_NODES, MAX_PATH, MountNode, MountNodeKind, Owner};
use super::STAGING;
use super::file::{accessed, modified, open, reset_access_time, unique_name};

pub(super) struct MountWalk<'a> {
    root: &'a Path,
    pub(super) found: Vec<MountNode>,
    pub(super) notes: FailureNotes,
    /// The first path of each file with several hard links, by device and inode.
    linked: HashMap<(u64, u64), OsString>,
    /// `true` if the directory must not be changed, and each hard link is listed as a separate file.
    is_scan: bool,
}

impl<'a> MountWalk<'a> {
    pub(super) fn new(root: &'a Path, is_scan: bool) -> Self {
        Self { root, found: Vec::new(), notes: FailureNotes::default(), linked: HashMap::new(), is_scan }
    }

    /// Lists the content of a directory, recursively. `path` is its path below the root.
    pub(super) fn list_directory(&mut self, directory: &Path, path: &OsStr) {
        let names = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.notes.add(path, &error),
        };
        names.sort_unstable();
        for name in names {
            if !self.is_scan && path.is_empty() && name.as_bytes().starts_with(STAGING.as_bytes()) {
                continue;
            }
            let mut below = path.to_owned();
            if !path.is_empty() {
                below.push("/");
            }
            below.push(&name);
            match self.add(&below) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.notes.add(&below, &error),
                Ok(()) => {}
            }
        }
    }

    fn add(&mut self, path: &OsStr) -> io::Result<()> {
        let place = self.root.join(path);
        let metadata = fs::symlink_metadata(&place)?;
        if path.len() > MAX_PATH || self.found.len() == MAX_NODES {
            return Err(io::Error::other("the path is too long, or the mount has too many files"));
        }
        let kind = if metadata.is_dir() {
            MountNodeKind::Directory
        } else if metadata.is_symlink() {
            MountNodeKind::Symlink(fs::read_link(&place)?.into_os_string())
        } else if self.is_scan {
            MountNodeKind::File(if metadata.is_file() { metadata.len() } else { 0 })
        } else if metadata.is_file() {
            self.file(path, &place, &metadata)?
        } else {
            // Sockets, pipes and devices are useless in a different builder.
            return Ok(());
        };
        let is_directory = kind == MountNodeKind::Directory;
        self.found.push(node(path, kind, &metadata));
        if is_directory {
            self.list_directory(&place, path);
        }
        Ok(())
    }

    fn file(&mut self, path: &OsStr, place: &Path, metadata: &Metadata) -> io::Result<MountNodeKind> {
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&inode) {
                return Ok(MountNodeKind::HardLink(first.clone()));
            }
            self.linked.insert(inode, path.to_owned());
        }
        if accessed(metadata) != modified(metadata) {
            reset_access_time(&open(place, metadata)?, modified(metadata))?;
        }
        Ok(MountNodeKind::File(metadata.len()))
    }
}

pub(super) fn owner(root: &Path) -> io::Result<Owner> {
    let found = fs::symlink_metadata(root)?;
    Ok(Owner { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 })
}

fn node(path: &OsStr, kind: MountNodeKind, metadata: &Metadata) -> MountNode {
    MountNode {
        kind,
        path: path.to_owned(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: modified(metadata),
        used: accessed(metadata),
    }
}

/// Returns `true` if the file system of the mount records access times.
pub(crate) fn records_access_times(root: &Path) -> bool {
    let path = root.join(format!("{STAGING}probe-{}", unique_name()));
    let probe = || -> io::Result<bool> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(b"x")?;
        let old = UNIX_EPOCH + Duration::from_secs(1);
        file.set_times(FileTimes::new().set_accessed(old).set_modified(old))?;
        File::open(&path)?.read_exact(&mut [0])?;
        Ok(fs::symlink_metadata(&path)?.atime() != 1)
    };
    let is_recorded = probe().unwrap_or(false);
    let _ = fs::remove_file(&path);
    is_recorded
}
