//! What a build can see of a file, as a digest.

use crate::digest::Digest;

/// What a build can see of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// The path below the context, separated by slashes.
    pub(crate) path: String,
    pub(crate) kind: FileKind,
    /// The permission bits with setuid, setgid and sticky; 0777 for a link.
    pub(crate) mode: u32,
    /// The digest of the content, of the link target, or of `major:minor`; otherwise that of nothing.
    pub(crate) digest: Digest,
    /// The digest of the extended attributes, if there are any.
    pub(crate) xattrs: Option<Digest>,
    /// The bytes of the content or the link target; 0 otherwise.
    pub(crate) size: u64,
}

/// The kind of an entry as the build sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKind {
    /// A regular file, a hard link, or a socket.
    File,
    Directory,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
}
