//! Moves staged files into place after all of them are complete. Writes no content.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cap_std::fs::{MetadataExt as _, PermissionsExt as _};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

use super::staging::{StagingDirectory, ignore_denied, modification_time};
use crate::archive::base::PathError;
use crate::archive::confined_root::{ConfinedRoot, open_as_file};
use crate::archive::listing::{Listing, Node, NodeKind, NodeTime};
use crate::archive::{path, xattrs};

/// Creates the directories, moves all other nodes into place, and sets the metadata of the directories last.
pub(super) fn install(
    listing: &Listing,
    needed: &[bool],
    beneath: &mut ConfinedRoot,
    staging: Option<&StagingDirectory<'_>>,
) -> Result<(), PathError> {
    let root = rustix::process::geteuid().is_root();
    let failed = |action, node: &Node| {
        let path = path::escaped(&node.path);
        move |source| PathError { action, path, source }
    };
    for (place, (node, needed)) in listing.nodes.iter().zip(needed.iter().copied()).enumerate() {
        match &node.kind {
            NodeKind::Directory if needed => {
                make_directory(beneath, &node.path).map_err(failed("create", node))?;
            }
            NodeKind::Directory if !root => {
                make_writable(beneath, &node.path).map_err(failed("write to", node))?;
            }
            _ if !needed => {}
            NodeKind::Directory => {}
            kind => {
                let staging = staging.expect("whatever is needed was staged").directory();
                if let NodeKind::HardLink { target } = kind {
                    let (parent, name) = beneath.parent(target).map_err(failed("link", node))?;
                    parent.hard_link(name, staging, place.to_string()).map_err(failed("link", node))?;
                }
                let (parent, name) = beneath.parent(&node.path).map_err(failed("write", node))?;
                staging.rename(place.to_string(), parent, name).map_err(failed("write", node))?;
            }
        }
    }
    // The deepest directories come first, because changes in a directory update its modification time.
    for node in listing.nodes.iter().rev().filter(|node| node.kind == NodeKind::Directory) {
        set_directory_metadata(beneath, node, root).map_err(failed("set the metadata of", node))?;
    }
    Ok(())
}

/// Creates a directory, and removes a file or link that exists at its path.
fn make_directory(beneath: &mut ConfinedRoot, path: &OsStr) -> io::Result<()> {
    let (parent, name) = beneath.parent(path)?;
    match parent.symlink_metadata(name) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => parent.remove_file(name)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut builder = cap_std::fs::DirBuilder::new();
    match parent.create_dir_with(name, cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700)) {
        // A concurrent restore has just created the directory.
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists && parent.symlink_metadata(name)?.is_dir() =>
        {
            Ok(())
        }
        made => made,
    }
}

/// Makes an existing directory of the entry writable for this user. Its final mode is set at the end.
fn make_writable(beneath: &mut ConfinedRoot, path: &OsStr) -> io::Result<()> {
    let directory = beneath.directory(path)?;
    let mode = directory.dir_metadata()?.mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        directory.set_permissions(".", cap_std::fs::Permissions::from_mode(mode | 0o700))?;
    }
    Ok(())
}

fn set_directory_metadata(beneath: &mut ConfinedRoot, node: &Node, root: bool) -> io::Result<()> {
    let directory = open_as_file(beneath.directory(&node.path)?)?;
    let metadata = directory.metadata()?;
    if root && (metadata.uid(), metadata.gid()) != (node.uid, node.gid) {
        ignore_denied(std::os::unix::fs::fchown(&directory, Some(node.uid), Some(node.gid)))?;
    }
    if xattrs::of(&directory) != node.xattrs {
        xattrs::replace(&directory, &node.xattrs)?;
    }
    if metadata.mode() & 0o7777 != node.mode {
        directory.set_permissions(std::fs::Permissions::from_mode(node.mode))?;
    }
    if NodeTime::of(metadata.mtime(), metadata.mtime_nsec()) == node.mtime {
        return Ok(());
    }
    let untouched = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: untouched, last_modification: modification_time(node) };
    Ok(rustix::fs::futimens(&directory, &times)?)
}
