//! The protocol between larder and a courier, over one connection for each mount.
//!
//! Larder and the courier are compiled from the same files. All numbers are little-endian.
//!
//! ```text
//!  frame    kind u8 | bytes of the rest u32, at most MAX_FRAME | the rest
//!
//!  courier                          larder
//!  Hello   version u16, mount u32 ─▶
//!                                 ◀─ List or Scan
//!  Nodes   node …                 ─▶          repeated
//!  Listed  nodes u64, root, notes ─▶
//!                                 ◀─ Read     number u32 …
//!  Content bytes                  ─▶          repeated
//!  Done    outcome u8             ─▶          once for each number, in order
//!                                 ◀─ Make     number u32, node
//!                                 ◀─ Piece    number u32, offset u64, bytes
//!                                 ◀─ Finish
//!  Made    files u64, notes       ─▶
//!                                 ◀─ Bye      and both close
//! ```
//!
//! If the environment of the courier contains `DIRECT`, it first connects to that socket: it sends its secret, larder
//! responds with the other secret, and the conversation starts. Otherwise the connection goes through the engine.
//!
//! A number is the index of a node in the last listing that was sent (`Read`), or in the listing that is restored
//! (`Make`, `Piece`). The side that serves a request only sends the response, so that the sides never block each other
//! with full pipes. Neither side trusts the other: lengths are checked before memory is reserved, and a path is always
//! below the mount.

mod frames;

use std::ffi::{OsStr, OsString};

pub use self::frames::{receive, send};
pub(crate) use self::frames::{send_content, send_piece, size_of};

/// The version of the protocol; different versions are incompatible.
pub(crate) const VERSION: u16 = 2;
/// The variable with the name of an abstract socket, the courier's secret and larder's secret, separated by spaces.
pub(crate) const DIRECT: &str = "DIRECT";
/// The length of a secret in bytes.
pub(crate) const SECRET: usize = 32;
/// The maximum size of a frame without kind and length, in bytes.
pub(crate) const MAX_FRAME: usize = 1 << 20;
/// The maximum size of the content in one frame, in bytes.
pub(crate) const PIECE_SIZE: usize = 256 << 10;
/// The maximum length of a path and of the target of a link, in bytes.
pub(crate) const MAX_PATH: usize = 4095;
/// The maximum number of nodes in the listing of one mount.
pub(crate) const MAX_NODES: usize = 2_000_000;
/// The maximum number of notes in one message.
const MAX_NOTES: usize = 20;
/// The maximum length of a note, in bytes.
const MAX_NOTE: usize = 4096;

/// A message of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the drawing above describes the variants")]
pub enum Message {
    Hello {
        version: u16,
        mount: u32,
    },
    /// Requests the listing, and resets all access times, so that the next listing shows which files were read.
    List,
    /// Requests the listing of a directory that must not be changed. It contains all names, with special files as empty
    /// files and hard links as separate files. The access times in it are meaningless.
    Scan,
    Nodes(Vec<MountNode>),
    Listed {
        nodes: u64,
        /// `true` if the file system records access times.
        records_access_times: bool,
        root: Owner,
        /// The nodes that could not be listed, with reasons.
        notes: FailureNotes,
    },
    Read(Vec<u32>),
    Content(Vec<u8>),
    Done(ReadOutcome),
    /// Requests that a node is created. A file is complete when all of its bytes have arrived.
    Make {
        number: u32,
        node: MountNode,
    },
    /// Bytes at this offset of a file to create.
    Piece {
        number: u32,
        offset: u64,
        bytes: Vec<u8>,
    },
    Finish,
    Made {
        /// The number of files and links that were created.
        files: u64,
        /// The nodes that could not be created, with reasons.
        notes: FailureNotes,
    },
    Bye,
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountNode {
    pub(crate) kind: MountNodeKind,
    /// The path below the mount: names separated by slashes.
    pub(crate) path: OsString,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Moment,
    pub(crate) used: Moment,
}

/// The owner and mode of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountNodeKind {
    Directory,
    /// A regular file of this size.
    File(u64),
    /// A symbolic link with this target.
    Symlink(OsString),
    /// A hard link to the file at this path.
    HardLink(OsString),
}

/// The result of reading a file of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// All bytes were sent, and the file has not changed since the listing.
    Complete,
    /// The file has changed since the listing.
    Changed,
    /// The file cannot be read.
    Unreadable,
}

/// Failures: their number, and the text of the first few.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureNotes {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl FailureNotes {
    pub(crate) fn add(&mut self, path: &OsStr, reason: &dyn std::fmt::Display) {
        self.count += 1;
        if self.first.len() < MAX_NOTES {
            let mut note = format!("{}: {reason}", path.to_string_lossy());
            note.truncate((0..=MAX_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0));
            self.first.push(note);
        }
    }
}
