//! Larder's side of the protocol with a courier.
//!
//! The builder is not trusted, so every response is checked: its size and number must be as announced, and its order as
//! requested.

use std::io::{self, Read, Write};

use crate::archive::{FileData, Listing, ListingLimits, Node, NodeKind, NodeTime};
use crate::courier::protocol::{
    self, FailureNotes, MAX_NODES, Message, Moment, MountNode, MountNodeKind, Owner, PIECE_SIZE, ReadOutcome,
    VERSION, send, send_piece,
};

/// The maximum total length of the paths of one mount, in bytes.
const MAX_NAMES: usize = 512 << 20;

/// An error of the communication with a courier about one mount.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The connection was closed early.
    #[error("the connection to the builder ended too early")]
    Ended,
    /// The connection failed.
    #[error("the connection to the builder broke")]
    Broken(#[source] io::Error),
    /// The courier violated the protocol.
    #[error("the builder sent an invalid response: {0}")]
    Refused(String),
}

impl From<io::Error> for ConversationError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Ended,
            io::ErrorKind::InvalidData => Self::Refused(error.to_string()),
            _ => Self::Broken(error),
        }
    }
}

fn refused(what: impl Into<String>) -> ConversationError {
    ConversationError::Refused(what.into())
}

pub(super) type CourierReader = Box<dyn Read + Send>;
pub(super) type CourierWriter = Box<dyn Write + Send>;

/// A connection to a courier.
pub struct Conversation {
    reader: CourierReader,
    writer: CourierWriter,
}

#[derive(Debug)]
pub struct MountListing {
    /// The nodes in order, without the location of files in the content.
    pub listing: Listing,
    /// The access times of the nodes, in the same order.
    pub(crate) used: Vec<NodeTime>,
    pub(crate) records_access_times: bool,
    pub(crate) root: Owner,
    pub(crate) notes: FailureNotes,
}

struct RawListing {
    found: Vec<MountNode>,
    records_access_times: bool,
    root: Owner,
    notes: FailureNotes,
}

impl Conversation {
    /// Waits for the courier, and returns the number of its mount.
    ///
    /// # Errors
    ///
    /// Fails if the connection fails, or if the courier has a different version of the protocol.
    pub fn accept(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
    ) -> Result<(usize, Self), ConversationError> {
        let (mut reader, writer): (CourierReader, CourierWriter) = (Box::new(reader), Box::new(writer));
        match protocol::receive(&mut reader)? {
            Some(Message::Hello { version: VERSION, mount }) => Ok((mount as usize, Self { reader, writer })),
            Some(Message::Hello { version, .. }) => {
                Err(refused(format!("it uses version {version} of the protocol")))
            }
            Some(_) => Err(refused("its first message is not a greeting")),
            None => Err(ConversationError::Ended),
        }
    }

    /// Requests the content of the mount, and resets its access times.
    ///
    /// # Errors
    ///
    /// Fails if the connection fails or the listing is invalid.
    pub fn list(&mut self) -> Result<MountListing, ConversationError> {
        let RawListing { found, records_access_times, root, notes } = self.request_listing(&Message::List)?;
        let used = found.iter().map(|found| time(found.used)).collect();
        let listing = Listing { nodes: found.into_iter().map(from_mount_node).collect() };
        // Links may have any target, because larder never follows them.
        let limits = ListingLimits { content: 0, outside_links: true };
        match listing.validate(limits) {
            Ok(()) => Ok(MountListing { listing, used, records_access_times, root, notes }),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Requests all names in a directory that must not be changed, with the owner and mode of the directory.
    ///
    /// # Errors
    ///
    /// Fails if the connection fails, or if the listing is incomplete.
    pub(crate) fn scan(&mut self) -> Result<(Owner, Vec<MountNode>), ConversationError> {
        let RawListing { found, root, notes, .. } = self.request_listing(&Message::Scan)?;
        match notes.first.first() {
            Some(note) => Err(refused(format!("it cannot list everything: {note}"))),
            None => Ok((root, found)),
        }
    }

    /// Requests a listing, and checks that it is complete.
    fn request_listing(&mut self, request: &Message) -> Result<RawListing, ConversationError> {
        self.send_message(request)?;
        self.writer.flush()?;
        let (mut found, mut names) = (Vec::new(), 0);
        loop {
            match self.receive_message()? {
                Message::Nodes(nodes) => {
                    for node in nodes {
                        names += node.path.len();
                        if found.len() == MAX_NODES || names > MAX_NAMES {
                            return Err(refused("its listing exceeds the limits of a mount"));
                        }
                        found.push(node);
                    }
                }
                Message::Listed { nodes, records_access_times, root, notes } => {
                    if nodes != found.len() as u64 {
                        return Err(refused("its listing has a different number of files than announced"));
                    }
                    return Ok(RawListing { found, records_access_times, root, notes });
                }
                _ => return Err(refused("it sent an unexpected message in a listing")),
            }
        }
    }

    /// Requests the content of files by their numbers in the last listing, with their sizes. For each file, calls
    /// `take` with the bytes as they arrive and then with the result. A complete file has exactly its size.
    ///
    /// # Errors
    ///
    /// Fails if the connection fails, if the number of bytes differs from the listing, or if `take` fails.
    pub fn read<E: From<ConversationError>>(
        &mut self,
        files: &[(u32, u64)],
        take: &mut dyn FnMut(usize, ReadEvent) -> Result<(), E>,
    ) -> Result<(), E> {
        let gone = |error: io::Error| E::from(error.into());
        self.send_message(&Message::Read(files.iter().map(|(number, _)| *number).collect()))?;
        self.writer.flush().map_err(gone)?;
        for (place, (_, size)) in files.iter().enumerate() {
            let mut left = *size;
            loop {
                match self.receive_message()? {
                    Message::Content(bytes) => {
                        let rest = left.checked_sub(bytes.len() as u64);
                        left = rest.ok_or_else(|| refused("a file has more bytes than announced"))?;
                        take(place, ReadEvent::Bytes(bytes))?;
                    }
                    Message::Done(ReadOutcome::Complete) if left > 0 => {
                        return Err(refused("a file has fewer bytes than announced").into());
                    }
                    Message::Done(outcome) => {
                        take(place, ReadEvent::End(outcome))?;
                        break;
                    }
                    _ => return Err(refused("it sent an unexpected message in the content of a file").into()),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn request_node(&mut self, number: u32, node: &Node) -> Result<(), ConversationError> {
        self.send_message(&Message::Make { number, node: to_mount_node(node) })
    }

    pub(crate) fn send_piece(
        &mut self,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), ConversationError> {
        for (place, part) in bytes.chunks(PIECE_SIZE).enumerate() {
            let offset = offset + (place * PIECE_SIZE) as u64;
            send_piece(&mut self.writer, number, offset, part)?;
        }
        Ok(())
    }

    /// Waits until all requested nodes are created. Returns the number of files, and the nodes that could not be
    /// created.
    pub(crate) fn finish(&mut self) -> Result<(u64, FailureNotes), ConversationError> {
        self.send_message(&Message::Finish)?;
        self.writer.flush()?;
        match self.receive_message()? {
            Message::Made { files, notes } => Ok((files, notes)),
            _ => Err(refused("it did not report the created nodes")),
        }
    }

    pub(crate) fn close(mut self) -> Result<(), ConversationError> {
        self.send_message(&Message::Bye)?;
        Ok(self.writer.flush()?)
    }

    fn send_message(&mut self, message: &Message) -> Result<(), ConversationError> {
        Ok(send(&mut self.writer, message)?)
    }

    fn receive_message(&mut self) -> Result<Message, ConversationError> {
        protocol::receive(&mut self.reader)?.ok_or(ConversationError::Ended)
    }
}

/// A part of a file's content.
#[derive(Debug)]
pub enum ReadEvent {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// The end, with the result.
    End(ReadOutcome),
}

fn time(moment: Moment) -> NodeTime {
    NodeTime(moment.seconds, moment.nanoseconds)
}

fn moment(NodeTime(seconds, nanoseconds): NodeTime) -> Moment {
    Moment { seconds, nanoseconds }
}

fn from_mount_node(found: MountNode) -> Node {
    let used = found.used.seconds;
    let (kind, mode) = match found.kind {
        MountNodeKind::Directory => (NodeKind::Directory, found.mode),
        MountNodeKind::File(size) => (
            NodeKind::File(FileData { size, used, data: Some(Vec::new()), ..FileData::default() }),
            found.mode,
        ),
        MountNodeKind::Symlink(target) => (NodeKind::Symlink { target }, 0o777),
        MountNodeKind::HardLink(target) => (NodeKind::HardLink { target }, 0),
    };
    let is_link = matches!(kind, NodeKind::HardLink { .. });
    let owner = |id: u32| if is_link { 0 } else { id };
    Node {
        path: found.path,
        mode,
        uid: owner(found.uid),
        gid: owner(found.gid),
        // The time of a link cannot be set.
        mtime: match kind {
            NodeKind::Directory | NodeKind::File(_) => time(found.modified),
            NodeKind::Symlink { .. } | NodeKind::HardLink { .. } => NodeTime::default(),
        },
        kind,
        xattrs: std::collections::BTreeMap::new(),
    }
}

fn to_mount_node(node: &Node) -> MountNode {
    MountNode {
        kind: match &node.kind {
            NodeKind::Directory => MountNodeKind::Directory,
            NodeKind::File(file) => MountNodeKind::File(file.size),
            NodeKind::Symlink { target } => MountNodeKind::Symlink(target.clone()),
            NodeKind::HardLink { target } => MountNodeKind::HardLink(target.clone()),
        },
        path: node.path.clone(),
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        modified: moment(node.mtime),
        used: moment(node.mtime),
    }
}
