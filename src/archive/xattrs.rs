//! Reads extended attributes without following links, and sets them as far as the user and the file system allow.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use xattr::FileExt;

use crate::context;

/// Attributes that depend on the security modules of the machine and are therefore never saved.
const LOCAL: [&str; 3] = ["security.selinux", "security.ima", "security.evm"];

/// Returns the attributes of `name` in an open directory, without following a link.
pub(super) fn read(directory: impl AsFd, name: &OsStr) -> BTreeMap<String, Vec<u8>> {
    // No system call accepts a name in an open directory. This path refers to the directory that is open.
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()));
    portable(context::xattrs(&path.join(name)))
}

pub(super) fn of(file: &File) -> BTreeMap<String, Vec<u8>> {
    let names = file.list_xattr().into_iter().flatten();
    portable(
        names.filter_map(|name| Some((name.to_str()?.to_owned(), file.get_xattr(&name).ok()??))).collect(),
    )
}

fn portable(mut xattrs: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    xattrs.retain(|name, _| !LOCAL.contains(&name.as_str()));
    xattrs
}

pub(super) fn set(file: &File, xattrs: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    context::set_xattrs(file, xattrs.iter().filter(|(name, _)| !LOCAL.contains(&name.as_str())))
}

/// Sets the attributes, and removes all others, as far as the user and the file system allow.
pub(super) fn replace(file: &File, xattrs: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for name in file.list_xattr().into_iter().flatten() {
        if name.to_str().is_some_and(|name| !LOCAL.contains(&name) && !xattrs.contains_key(name)) {
            // The user may lack the permission to remove it.
            let _ = file.remove_xattr(&name);
        }
    }
    set(file, xattrs)
}
