//! Encodes and decodes messages.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{
    FailureNotes, MAX_FRAME, MAX_NOTE, MAX_NOTES, MAX_PATH, Message, Moment, MountNode, MountNodeKind, Owner,
    ReadOutcome,
};

/// The kinds of the messages whose content is not copied.
const CONTENT: u8 = 4;
const PIECE_KIND: u8 = 35;
/// The size of the number and offset of a piece, in bytes.
const PIECE_HEAD: usize = 12;

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the peer sent {what}"))
}

/// Sends a message.
///
/// # Errors
///
/// Fails if the connection fails.
pub fn send(to: &mut impl Write, message: &Message) -> io::Result<()> {
    let mut head = Vec::new();
    let (kind, bytes) = encode(message, &mut head);
    send_frame(to, kind, &head, bytes)
}

/// Sends [`Message::Content`] without copying the bytes.
pub(crate) fn send_content(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    send_frame(to, CONTENT, &[], bytes)
}

/// Sends [`Message::Piece`] without copying the bytes.
pub(crate) fn send_piece(to: &mut impl Write, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut head = [0; PIECE_HEAD];
    head[..4].copy_from_slice(&number.to_le_bytes());
    head[4..].copy_from_slice(&offset.to_le_bytes());
    send_frame(to, PIECE_KIND, &head, bytes)
}

fn send_frame(to: &mut impl Write, kind: u8, head: &[u8], bytes: &[u8]) -> io::Result<()> {
    let size = head.len() + bytes.len();
    let size = u32::try_from(size).ok().filter(|_| size <= MAX_FRAME);
    let size = size.ok_or_else(|| io::Error::other("a message is larger than a frame"))?;
    let mut start = [kind; 5];
    start[1..].copy_from_slice(&size.to_le_bytes());
    to.write_all(&start)?;
    to.write_all(head)?;
    to.write_all(bytes)
}

/// Receives a message; returns `None` if the connection was closed before a message.
///
/// # Errors
///
/// Fails if the connection fails or the message is invalid.
pub fn receive(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut kind = [0];
    loop {
        match from.read(&mut kind) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > MAX_FRAME {
        return Err(malformed("a frame that is too large"));
    }
    // Content is read directly into its final buffer.
    let mut head = [0; PIECE_HEAD];
    let head = match kind[0] {
        PIECE_KIND => head.get_mut(..PIECE_HEAD.min(size)).unwrap_or_default(),
        _ => &mut [],
    };
    from.read_exact(head)?;
    let mut rest = vec![0; size - head.len()];
    from.read_exact(&mut rest)?;
    if kind[0] == CONTENT {
        return Ok(Some(Message::Content(rest)));
    }
    if kind[0] == PIECE_KIND {
        let mut head = MessageBody(head);
        return Ok(Some(Message::Piece { number: head.read_u32()?, offset: head.read_u64()?, bytes: rest }));
    }
    let mut body = MessageBody(&rest);
    let message = decode(kind[0], &mut body)?;
    if body.0.is_empty() { Ok(Some(message)) } else { Err(malformed("a message with trailing bytes")) }
}

/// Returns an upper bound of the size of a node in a frame, in bytes.
pub(crate) fn size_of(node: &MountNode) -> usize {
    let target = match &node.kind {
        MountNodeKind::Symlink(target) | MountNodeKind::HardLink(target) => target.len(),
        MountNodeKind::Directory | MountNodeKind::File(_) => 0,
    };
    64 + node.path.len() + target
}

/// Encodes a message into `body`. Returns its kind, and the bytes that follow `body`.
fn encode<'a>(message: &'a Message, body: &mut Vec<u8>) -> (u8, &'a [u8]) {
    let kind = match message {
        Message::Hello { version, mount } => {
            body.extend(version.to_le_bytes());
            body.extend(mount.to_le_bytes());
            1
        }
        Message::Nodes(nodes) => {
            for node in nodes {
                encode_node(node, body);
            }
            2
        }
        Message::Listed { nodes, records_access_times, root, notes } => {
            body.extend(nodes.to_le_bytes());
            body.push(u8::from(*records_access_times));
            for number in [root.uid, root.gid, root.mode] {
                body.extend(number.to_le_bytes());
            }
            encode_notes(notes, body);
            3
        }
        Message::Content(bytes) => return (CONTENT, bytes),
        Message::Done(outcome) => {
            body.push(match outcome {
                ReadOutcome::Complete => 0,
                ReadOutcome::Changed => 1,
                ReadOutcome::Unreadable => 2,
            });
            5
        }
        Message::Made { files, notes } => {
            body.extend(files.to_le_bytes());
            encode_notes(notes, body);
            6
        }
        Message::List => 32,
        Message::Read(numbers) => {
            body.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            33
        }
        Message::Make { number, node } => {
            body.extend(number.to_le_bytes());
            encode_node(node, body);
            34
        }
        Message::Piece { number, offset, bytes } => {
            body.extend(number.to_le_bytes());
            body.extend(offset.to_le_bytes());
            return (PIECE_KIND, bytes);
        }
        Message::Finish => 36,
        Message::Bye => 37,
        Message::Scan => 38,
    };
    (kind, &[])
}

fn decode(kind: u8, body: &mut MessageBody<'_>) -> io::Result<Message> {
    Ok(match kind {
        1 => Message::Hello { version: u16::from_le_bytes(body.take()?), mount: body.read_u32()? },
        2 => Message::Nodes(body.read_all(MessageBody::read_node)?),
        3 => Message::Listed {
            nodes: body.read_u64()?,
            records_access_times: match body.take()? {
                [0] => false,
                [1] => true,
                _ => return Err(malformed("an invalid boolean")),
            },
            root: Owner { uid: body.read_u32()?, gid: body.read_u32()?, mode: body.read_u32()? & 0o7777 },
            notes: body.read_notes()?,
        },
        5 => Message::Done(match body.take()? {
            [0] => ReadOutcome::Complete,
            [1] => ReadOutcome::Changed,
            [2] => ReadOutcome::Unreadable,
            _ => return Err(malformed("an invalid read result")),
        }),
        6 => Message::Made { files: body.read_u64()?, notes: body.read_notes()? },
        32 => Message::List,
        33 => Message::Read(body.read_all(MessageBody::read_u32)?),
        34 => Message::Make { number: body.read_u32()?, node: body.read_node()? },
        36 => Message::Finish,
        37 => Message::Bye,
        38 => Message::Scan,
        _ => return Err(malformed("a message of an unknown kind")),
    })
}

fn encode_node(node: &MountNode, body: &mut Vec<u8>) {
    let (kind, size, target) = match &node.kind {
        MountNodeKind::Directory => (0, 0, None),
        MountNodeKind::File(size) => (1, *size, None),
        MountNodeKind::Symlink(target) => (2, 0, Some(target)),
        MountNodeKind::HardLink(target) => (3, 0, Some(target)),
    };
    body.push(kind);
    for number in [node.mode, node.uid, node.gid] {
        body.extend(number.to_le_bytes());
    }
    for time in [node.modified, node.used] {
        body.extend(time.seconds.to_le_bytes());
        body.extend(time.nanoseconds.to_le_bytes());
    }
    body.extend(size.to_le_bytes());
    encode_text(node.path.as_bytes(), body);
    encode_text(target.map_or(&[][..], |target| target.as_bytes()), body);
}

fn encode_notes(notes: &FailureNotes, body: &mut Vec<u8>) {
    body.extend(notes.count.to_le_bytes());
    for note in &notes.first {
        encode_text(note.as_bytes(), body);
    }
}

/// Encodes the length of a text and the text, truncated to the maximum length.
fn encode_text(text: &[u8], body: &mut Vec<u8>) {
    let size = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(size.to_le_bytes());
    body.extend(&text[..usize::from(size)]);
}

/// The bytes of a message that are not decoded yet.
struct MessageBody<'a>(&'a [u8]);

impl<'a> MessageBody<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(|| malformed("a truncated message"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn take<const COUNT: usize>(&mut self) -> io::Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        bytes.copy_from_slice(self.bytes(COUNT)?);
        Ok(bytes)
    }

    fn read_u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn read_u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// Reads values up to the end of the message.
    fn read_all<T>(&mut self, read: impl Fn(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let mut values = Vec::new();
        while !self.0.is_empty() {
            values.push(read(self)?);
        }
        Ok(values)
    }

    fn read_text(&mut self, longest: usize) -> io::Result<&'a [u8]> {
        let size = usize::from(u16::from_le_bytes(self.take()?));
        if size > longest {
            return Err(malformed("a string that is too long"));
        }
        self.bytes(size)
    }

    fn read_moment(&mut self) -> io::Result<Moment> {
        let seconds = i64::from_le_bytes(self.take()?);
        let nanoseconds = self.read_u32()?;
        if nanoseconds >= 1_000_000_000 {
            return Err(malformed("an invalid time"));
        }
        Ok(Moment { seconds, nanoseconds })
    }

    fn read_node(&mut self) -> io::Result<MountNode> {
        let [kind] = self.take()?;
        let (mode, uid, gid) = (self.read_u32()?, self.read_u32()?, self.read_u32()?);
        let (modified, used, size) = (self.read_moment()?, self.read_moment()?, self.read_u64()?);
        let path = self.read_text(MAX_PATH)?;
        let target = OsString::from_vec(self.read_text(MAX_PATH)?.to_vec());
        if mode > 0o7777 || !is_valid_path(path) {
            return Err(malformed("a node with an invalid mode or a path outside the mount"));
        }
        let kind = match (kind, target.as_bytes()) {
            (0, b"") => MountNodeKind::Directory,
            (1, b"") => MountNodeKind::File(size),
            (2, text) if !text.is_empty() && !text.contains(&0) => MountNodeKind::Symlink(target),
            (3, text) if is_valid_path(text) => MountNodeKind::HardLink(target),
            _ => return Err(malformed("a node of an unknown kind or with an invalid target")),
        };
        Ok(MountNode { kind, path: OsString::from_vec(path.to_vec()), mode, uid, gid, modified, used })
    }

    fn read_notes(&mut self) -> io::Result<FailureNotes> {
        let mut notes = FailureNotes { count: self.read_u64()?, first: Vec::new() };
        while !self.0.is_empty() {
            if notes.first.len() == MAX_NOTES {
                return Err(malformed("too many notes"));
            }
            notes.first.push(String::from_utf8_lossy(self.read_text(MAX_NOTE)?).into_owned());
        }
        Ok(notes)
    }
}

/// Returns `true` if a path is below the mount and consists of valid file names.
fn is_valid_path(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .all(|name| !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&0))
}
