//! Compares an entry with the directory that it is restored into. Changes nothing.

use std::ffi::OsStr;

use cap_std::fs::{Dir, Metadata, MetadataExt};

use super::RestoreError;
use crate::archive::base::PathError;
use crate::archive::confined_root::{ConfinedRoot, stamp};
use crate::archive::index::DirectoryIndex;
use crate::archive::listing::{Listing, Node, NodeKind, NodeTime};
use crate::archive::{path, xattrs};

/// Compares each node with the file at its path. Returns for each node `true` if it must be created.
///
/// Files are equal if their kinds, sizes, times, modes, owners and attributes are, or if `known` has the stamp of the
/// file. The metadata of existing directories are not compared.
pub(super) fn compare(
    listing: &Listing,
    beneath: &mut ConfinedRoot,
    known: Option<&DirectoryIndex>,
) -> Result<Vec<bool>, RestoreError> {
    let owner = rustix::process::geteuid().is_root();
    let mut needed: Vec<bool> = Vec::with_capacity(listing.nodes.len());
    let mut inodes = Vec::with_capacity(listing.nodes.len());
    // Everything below a missing directory is missing as well.
    let mut absent: Option<&OsStr> = None;
    for node in &listing.nodes {
        let failed = |source| {
            let path = path::escaped(&node.path);
            PathError { action: "read the metadata of", path, source }
        };
        let below_absent = absent.is_some_and(|absent| is_below(&node.path, absent));
        let found = if below_absent { None } else { beneath.metadata(&node.path).map_err(failed)? };
        if node.kind != NodeKind::Directory && found.as_ref().is_some_and(Metadata::is_dir) {
            return Err(RestoreError::DirectoryInTheWay(path::escaped(&node.path)));
        }
        let inode = found.as_ref().map(|metadata| (metadata.dev(), metadata.ino()));
        let mut same = match &found {
            Some(metadata) => {
                let place = beneath.parent(&node.path).map_err(failed)?;
                is_same(node, metadata, place, owner, known).map_err(failed)?
            }
            None => false,
        };
        if let NodeKind::HardLink { target } = &node.kind {
            let first = listing.index_of(target);
            // The link must be a name of the existing file, not of one that will be replaced.
            same &= first.is_some_and(|first| !needed[first] && inodes[first] == inode);
        }
        if !same && !below_absent && node.kind == NodeKind::Directory {
            absent = Some(&node.path);
        }
        needed.push(!same);
        inodes.push(inode);
    }
    Ok(needed)
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
