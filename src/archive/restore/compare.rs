//! Compares an entry with the directory that it is restored into. Changes nothing.

use std::ffi::OsStr;

use cap_std::fs::{Dir, Metadata, MetadataExt};

use super::RestoreError;
use crate::archive::base::PathError;
use crate::archive::confined_root::{ConfinedRoot, is_absent, stamp};
use crate::archive::index::DirectoryIndex;
use crate::archive::listing::{Listing, Node, NodeKind, NodeTime};
use crate::archive::{path, xattrs};

/// The result of a comparison.
#[derive(Debug)]
pub(super) struct Comparison {
    /// For each node, `true` if it must be created. The metadata of existing directories are not compared.
    pub(super) needed: Vec<bool>,
}

impl Comparison {
    /// Compares each node with the file at its path. Files are equal if their kinds, sizes, times, modes, owners and
    /// attributes are, or if `known` has the stamp of the file.
    pub(super) fn compare(
        listing: &Listing,
        beneath: &mut ConfinedRoot,
        known: Option<&DirectoryIndex>,
    ) -> Result<Self, RestoreError> {
        let owner = rustix::process::geteuid().is_root();
        let mut needed: Vec<bool> = Vec::with_capacity(listing.nodes.len());
        let mut inodes = Vec::with_capacity(listing.nodes.len());
        // Everything below a missing directory is missing as well.
        let mut absent: Option<&OsStr> = None;
        for node in &listing.nodes {
            let below_absent = absent.is_some_and(|absent| is_below(&node.path, absent));
            let look = |beneath: &mut ConfinedRoot| -> std::io::Result<Option<(Metadata, bool)>> {
                let (parent, name) = match beneath.parent(&node.path) {
                    Err(error) if is_absent(&error) => return Ok(None),
                    found => found?,
                };
                match parent.symlink_metadata(name) {
                    Ok(metadata) => {
                        let same = is_same(node, &metadata, (parent, name), owner, known)?;
                        Ok(Some((metadata, same)))
                    }
                    Err(error) if is_absent(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            };
            let found = if below_absent {
                None
            } else {
                look(beneath).map_err(|source| PathError {
                    action: "read the metadata of",
                    path: path::escaped(&node.path),
                    source,
                })?
            };
            if let Some((metadata, _)) = &found
                && metadata.is_dir()
                && node.kind != NodeKind::Directory
            {
                return Err(RestoreError::DirectoryInTheWay(path::escaped(&node.path)));
            }
            let inode = found.as_ref().map(|(metadata, _)| (metadata.dev(), metadata.ino()));
            let same = found.is_some_and(|(_, same)| same)
                && match &node.kind {
                    NodeKind::HardLink { target } => {
                        let first = listing.nodes.binary_search_by(|node| path::compare(&node.path, target));
                        // The link must be a name of the existing file, not of one that will be replaced.
                        first.is_ok_and(|first| !needed[first] && inodes[first] == inode)
                    }
                    _ => true,
                };
            if !same && !below_absent && node.kind == NodeKind::Directory {
                absent = Some(&node.path);
            }
            needed.push(!same);
            inodes.push(inode);
        }
        Ok(Self { needed })
    }

    /// Returns the number of files and links that must be created.
    pub(super) fn needed_files(&self, listing: &Listing) -> u64 {
        let needed = listing.nodes.iter().zip(&self.needed).filter(|(_, needed)| **needed);
        needed.filter(|(node, _)| node.kind != NodeKind::Directory).count() as u64
    }
}

fn is_below(path: &OsStr, directory: &OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    path.as_bytes().strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

fn is_same(
    node: &Node,
    metadata: &Metadata,
    (parent, name): (&Dir, &OsStr),
    owner: bool,
    known: Option<&DirectoryIndex>,
) -> std::io::Result<bool> {
    let kind = metadata.file_type();
    match &node.kind {
        NodeKind::Directory => Ok(kind.is_dir()),
        NodeKind::HardLink { .. } => Ok(kind.is_file()),
        NodeKind::Symlink { target } => Ok(kind.is_symlink()
            && has_same_time_and_owner(node, metadata, owner)
            && parent.read_link_contents(name)?.as_os_str() == target),
        NodeKind::File(file) => {
            if !kind.is_file() || metadata.len() != file.size {
                return Ok(false);
            }
            let known = known.and_then(|known| known.stamp(&node.path));
            Ok(known == Some(&stamp(metadata))
                || has_same_time_and_owner(node, metadata, owner)
                    && metadata.mode() & 0o7777 == node.mode
                    && xattrs::read(parent, name) == node.xattrs)
        }
    }
}

/// Returns `true` if the modification time and, for root, the owner are those of the node.
fn has_same_time_and_owner(node: &Node, metadata: &Metadata, owner: bool) -> bool {
    NodeTime::of(metadata.mtime(), metadata.mtime_nsec()) == node.mtime
        && (!owner || (metadata.uid(), metadata.gid()) == (node.uid, node.gid))
}
