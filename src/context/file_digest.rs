//! The digest of everything that a build can see of a file. Contains no times, and no owners except those of archives.

use crate::digest::Digest;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDigest {
    /// The path below the context, separated by slashes.
    pub(crate) path: String,
    pub(crate) kind: FileKind,
    /// The permission bits with setuid, setgid and sticky; 0777 for a link.
    pub(crate) mode: u32,
    /// The digest of the content, the link target or `major:minor`; the digest of no bytes for other kinds.
    pub(crate) digest: Digest,
    /// `None` if there are no extended attributes.
    pub(crate) xattrs: Option<Digest>,
    /// The size of the content or the link target, in bytes; 0 for other kinds.
    pub(crate) size: u64,
}

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
