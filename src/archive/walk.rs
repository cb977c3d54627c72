//! Finds all files, directories and links below a directory, in the order of a listing.
//!
//! No link is followed, and no file is opened. Sockets, pipes, devices and staging directories are left out.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, FileTypeExt, Metadata, MetadataExt};

use super::confined_root::{if_present, stamp};
use super::listing::{FileData, Node, NodeKind, NodeTime};
use super::validate::{LONGEST_PATH, leads_out};
use super::{STAGING, path, xattrs};
use crate::context::Stamp;

#[derive(Debug)]
pub(crate) struct WalkedDirectory {
    /// Sorted by path; `at` and `data` of a file are not known yet.
    pub(crate) found: Vec<WalkedNode>,
    pub(crate) left_out: Vec<LeftOutPath>,
}

/// A node, with the data that shows whether a file has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalkedNode {
    pub(crate) node: Node,
    pub(crate) stamp: Option<Stamp>,
    /// The space that the file occupies on the disk, in bytes.
    pub(crate) allocated: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOutPath {
    pub(crate) path: OsString,
    pub(crate) reason: LeftOutReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeftOutReason {
    /// It is a socket, a pipe or a device; contains the noun with its article.
    Kind(&'static str),
    Unreadable(String),
    /// It changed each time it was read.
    Changing,
    Vanished,
    LongName,
}

impl WalkedDirectory {
    /// Returns the total size of all files in bytes, counting each file with several names once.
    pub(crate) fn bytes(&self) -> u64 {
        self.found.iter().filter_map(|found| found.node.file()).map(|file| file.size).sum()
    }

    /// Returns the paths of links that lead out of the directory.
    pub(crate) fn outside_links(&self) -> Vec<String> {
        let links = self.found.iter().filter(|found| match &found.node.kind {
            NodeKind::Symlink { target } => leads_out(&found.node.path, target),
            _ => false,
        });
        links.map(|found| path::escaped(&found.node.path)).collect()
    }

    /// Returns `true` if there are only directories.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.iter().all(|found| found.node.kind == NodeKind::Directory)
    }
}

/// Finds all nodes in `root`. Fails if the directory itself cannot be read. Anything in it that cannot be read is left
/// out.
pub(crate) fn walk(root: &Dir) -> io::Result<WalkedDirectory> {
    let mut walk = DirectoryWalker {
        walked: WalkedDirectory { found: Vec::new(), left_out: Vec::new() },
        linked: HashMap::new(),
    };
    walk.enter(root, OsStr::new(""))?;
    Ok(walk.walked)
}

struct DirectoryWalker {
    walked: WalkedDirectory,
    /// The first path of each file that has several names, by device and inode.
    linked: HashMap<(u64, u64), OsString>,
}

impl DirectoryWalker {
    fn enter(&mut self, directory: &Dir, path: &OsStr) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in directory.entries()? {
            let name = entry?.file_name();
            if !(path.is_empty() && name.as_bytes().starts_with(STAGING.as_bytes())) {
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let path = path::join(path, &name);
            if let Err(error) = if_present(self.add(directory, &name, &path)) {
                self.leave_out(&path, LeftOutReason::Unreadable(error.to_string()));
            }
        }
        Ok(())
    }

    fn add(&mut self, directory: &Dir, name: &OsStr, path: &OsStr) -> io::Result<()> {
        let metadata = directory.symlink_metadata(name)?;
        if path.len() > LONGEST_PATH {
            self.leave_out(path, LeftOutReason::LongName);
            return Ok(());
        }
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            let below = directory.open_dir_nofollow(name)?;
            self.push(path, NodeKind::Directory, &metadata, xattrs::read(directory, name));
            return self.enter(&below, path);
        } else if kind.is_symlink() {
            NodeKind::Symlink { target: directory.read_link_contents(name)?.into_os_string() }
        } else if kind.is_file() {
            self.file(path, &metadata)
        } else {
            let special = match kind {
                kind if kind.is_socket() => "a socket",
                kind if kind.is_fifo() => "a pipe",
                _ => "a device",
            };
            self.leave_out(path, LeftOutReason::Kind(special));
            return Ok(());
        };
        let attributes = match kind {
            NodeKind::File(_) => xattrs::read(directory, name),
            _ => BTreeMap::new(),
        };
        self.push(path, kind, &metadata, attributes);
        Ok(())
    }

    fn file(&mut self, path: &OsStr, metadata: &Metadata) -> NodeKind {
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&inode) {
                return NodeKind::HardLink { target: first.clone() };
            }
            self.linked.insert(inode, path.to_owned());
        }
        NodeKind::File(FileData { size: metadata.len(), used: metadata.atime(), ..FileData::default() })
    }

    fn push(&mut self, path: &OsStr, kind: NodeKind, metadata: &Metadata, xattrs: BTreeMap<String, Vec<u8>>) {
        let node = node(path, kind, metadata, xattrs);
        let stamp = node.file().map(|_| stamp(metadata));
        let allocated = metadata.blocks().saturating_mul(512);
        self.walked.found.push(WalkedNode { node, stamp, allocated });
    }

    fn leave_out(&mut self, path: &OsStr, reason: LeftOutReason) {
        self.walked.left_out.push(LeftOutPath { path: path.to_owned(), reason });
    }
}

pub(super) fn node(
    path: &OsStr,
    kind: NodeKind,
    metadata: &Metadata,
    xattrs: BTreeMap<String, Vec<u8>>,
) -> Node {
    let path = path.to_owned();
    if let NodeKind::HardLink { .. } = kind {
        return Node { path, kind, mode: 0, uid: 0, gid: 0, mtime: NodeTime::default(), xattrs };
    }
    Node {
        path,
        mode: match kind {
            // The mode of a link has no effect and cannot be set.
            NodeKind::Symlink { .. } => 0o777,
            _ => metadata.mode() & 0o7777,
        },
        kind,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: NodeTime::of(metadata.mtime(), metadata.mtime_nsec()),
        xattrs,
    }
}

impl std::fmt::Display for LeftOutPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = path::escaped(&self.path);
        match &self.reason {
            LeftOutReason::Kind(kind) => write!(f, "{path} is {kind}"),
            LeftOutReason::Unreadable(reason) => write!(f, "{path} cannot be read: {reason}"),
            LeftOutReason::Changing => write!(f, "{path} changed each time it was read"),
            LeftOutReason::Vanished => write!(f, "{path} was removed during the save"),
            LeftOutReason::LongName => write!(f, "{path} has a path that is too long"),
        }
    }
}
