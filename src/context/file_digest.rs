//! What a build can see of a file, as a digest.

use crate::digest::Digest;

/// What a build can see of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// The path below the context, slash-separated.
    pub(crate) path: String,
    /// What it is to the build.
    pub(crate) kind: FileKind,
    /// The permission bits with setuid, setgid and sticky; 0777 for a link.
    pub(crate) mode: u32,
    /// Of the content, the link target, or `major:minor`; of nothing otherwise.
    pub(crate) digest: Digest,
    /// Of the extended attributes, if there are any.
    pub(crate) xattrs: Option<Digest>,
    /// Bytes that were digested, of content or link target; 0 otherwise.
    pub(crate) size: u64,
}

/// What an entry is to the build, however it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKind {
    /// Content; also any further name of it, and a socket.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}
