//! What larder and its courier say to each other over one connection a mount.
//!
//! Both sides are made of these files. Every number is little-endian.
//!
//! ```text
//!  frame    kind u8 | bytes of the rest u32, at most LARGEST | the rest
//!
//!  courier                          larder
//!  Hello   version u16, mount u32 ─▶
//!                                 ◀─ List
//!  Nodes   node …                 ─▶          as often as it takes
//!  Listed  nodes u64, root, notes ─▶
//!                                 ◀─ Read     number u32 …
//!  Content bytes                  ─▶          as often as it takes
//!  Done    outcome u8             ─▶          once a number, in their order
//!                                 ◀─ Make     number u32, node
//!                                 ◀─ Piece    number u32, offset u64, bytes
//!                                 ◀─ Finish
//!  Made    files u64, notes       ─▶
//!                                 ◀─ Bye      and both close
//! ```
//!
//! Where the courier's environment has [`DIRECT`], a connection is first tried
//! over that: the courier says its secret, larder answers with the
//! other one, and the conversation begins. Else it goes through the engine.
//!
//! A number is a node's place in the list that was sent (`Read`), or in the
//! list that is being restored (`Make`, `Piece`). Who is asked says nothing
//! but the answer, so neither waits for the other with full pipes. Each side
//! takes what the other says as if it were hostile: lengths are checked before
//! anything is reserved, and a path leads nowhere but below the mount.

mod frames;

use std::ffi::{OsStr, OsString};

pub use self::frames::{receive, send};
pub(crate) use self::frames::{send_content, send_piece, size_of};

/// What is spoken; another number is another language.
pub(crate) const VERSION: u16 = 1;
/// The variable with the name of an abstract socket, the courier's secret and larder's: spaces in between.
pub(crate) const DIRECT: &str = "DIRECT";
/// Bytes of a secret.
pub(crate) const SECRET: usize = 32;
/// Bytes of a frame's rest, at most.
pub(crate) const LARGEST: usize = 1 << 20;
/// Bytes of content that go into one frame.
pub(crate) const PIECE: usize = 256 << 10;
/// Bytes of a path and of a link's target, at most.
pub(crate) const LONGEST_PATH: usize = 4095;
/// Nodes that are listed of one mount, at most.
pub(crate) const MOST_NODES: usize = 2_000_000;
/// Notes of what went wrong that are told word by word.
const MOST_NOTES: usize = 20;
/// Bytes of a note, at most.
const LONGEST_NOTE: usize = 4096;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The courier is there, for the mount of this number.
    Hello {
        /// What it speaks.
        version: u16,
        /// The mount.
        mount: u32,
    },
    /// Asks for what the mount holds; from then on all of it looks unused, so that the next list tells what was read
    /// meanwhile.
    List,
    /// Some of what the mount holds, in order.
    Nodes(Vec<FoundNode>),
    /// That was all.
    Listed {
        /// How many nodes were sent.
        nodes: u64,
        /// Whether the file system notes that a file was read.
        notes_uses: bool,
        /// Whose the mount's own directory is.
        root: Owner,
        /// What could not be listed.
        notes: Notes,
    },
    /// Asks for the content of files.
    Read(Vec<u32>),
    /// The next bytes of the file under way.
    Content(Vec<u8>),
    /// That file is over.
    Done(ReadOutcome),
    /// Asks for a node; a file is there when all of its bytes have come.
    Make {
        /// Its number.
        number: u32,
        /// What it is to be.
        node: FoundNode,
    },
    /// Bytes of a file that is being made.
    Piece {
        /// Its number.
        number: u32,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Nothing more is to be made.
    Finish,
    /// What was asked for is made.
    Made {
        /// Files and links that were made.
        files: u64,
        /// What could not be made.
        notes: Notes,
    },
    /// Nothing more is wanted.
    Bye,
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundNode {
    /// What it is.
    pub(crate) kind: FoundKind,
    /// From the mount on: names separated by slashes.
    pub(crate) path: OsString,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Its owner.
    pub(crate) uid: u32,
    /// Its owner's group.
    pub(crate) gid: u32,
    /// When it was modified.
    pub(crate) modified: Moment,
    /// When it was last read.
    pub(crate) used: Moment,
}

/// Whose a directory is, and who may write to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// Its owner.
    pub(crate) uid: u32,
    /// Its owner's group.
    pub(crate) gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment {
    /// Seconds.
    pub(crate) seconds: i64,
    /// Nanoseconds.
    pub(crate) nanoseconds: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundKind {
    /// A directory.
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link that says this.
    Symlink(OsString),
    /// A further name of the file at this path.
    HardLink(OsString),
}

/// How reading a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// All bytes that the list told were sent, and the file is as it was then.
    Whole,
    /// It is not what it was when it was listed.
    Changed,
    /// It cannot be read.
    Unreadable,
}

/// What went wrong: how often, and the first few in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// How often.
    pub(crate) count: u64,
    /// In words.
    pub(crate) first: Vec<String>,
}

impl Notes {
    /// Adds one.
    pub(crate) fn add(&mut self, path: &OsStr, reason: &dyn std::fmt::Display) {
        self.count += 1;
        if self.first.len() < MOST_NOTES {
            let mut note = format!("{}: {reason}", path.to_string_lossy());
            note.truncate((0..=LONGEST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0));
            self.first.push(note);
        }
    }
}
