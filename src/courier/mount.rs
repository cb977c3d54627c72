//! Serves a mount: lists it, reads its files, and creates missing files.
//!
//! Existing files are never deleted, links are never followed, and new files become visible only when all of them are
//! complete.

mod file;
pub(crate) mod list;
mod make;

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use self::file::{modified, open, reset_access_time};
use self::list::{MountWalk, owner, records_access_times};
use self::make::{MountWriter, remove_abandoned};
use super::protocol::{
    self, FailureNotes, Message, MountNode, MountNodeKind, PIECE_SIZE, ReadOutcome, VERSION, send,
    send_content, size_of,
};

/// The name prefix of staging directories, which are never listed.
const STAGING: &str = ".larder-restore-";
/// The size of a frame of nodes, in bytes.
const NODES_FRAME_SIZE: usize = 64 << 10;
const QUEUE_LENGTH: usize = 16;

/// Serves one mount until the peer ends the conversation or the connection.
///
/// # Errors
///
/// Fails if the connection fails or the peer violates the protocol.
pub fn serve(number: u32, root: &Path, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    send(to, &Message::Hello { version: VERSION, mount: number })?;
    to.flush()?;
    thread::scope(|scope| {
        let mut listed = Vec::new();
        let mut making: Option<MakerThread<'_>> = None;
        loop {
            let Some(message) = protocol::receive(from)? else { return Ok(()) };
            match message {
                Message::List | Message::Scan => {
                    let is_scan = message == Message::Scan;
                    if !is_scan {
                        remove_abandoned(root);
                    }
                    let records_access_times = !is_scan && records_access_times(root);
                    let mut walk = MountWalk::new(root, is_scan);
                    walk.list_directory(root, OsStr::new(""));
                    listed = walk.found;
                    send_nodes(to, &listed)?;
                    let (count, root, notes) = (listed.len() as u64, owner(root)?, walk.notes);
                    send(to, &Message::Listed { nodes: count, records_access_times, root, notes })?;
                    to.flush()?;
                }
                Message::Read(numbers) => {
                    for number in numbers {
                        let node = listed.get(number as usize).ok_or_else(unexpected_message)?;
                        let outcome = read(root, node, to)?;
                        send(to, &Message::Done(outcome))?;
                    }
                    to.flush()?;
                }
                Message::Make { .. } | Message::Piece { .. } => {
                    let making = making.get_or_insert_with(|| MakerThread::start(scope, root));
                    // The thread ends early only after a protocol violation.
                    making.messages.send(message).map_err(|_| unexpected_message())?;
                }
                Message::Finish => {
                    let (files, notes) =
                        making.take().map(MakerThread::finish).transpose()?.unwrap_or_default();
                    send(to, &Message::Made { files, notes })?;
                    to.flush()?;
                }
                Message::Bye => return Ok(()),
                _ => return Err(unexpected_message()),
            }
        }
    })
}

/// A thread that creates nodes while the next bytes are received.
struct MakerThread<'scope> {
    messages: SyncSender<Message>,
    thread: ScopedJoinHandle<'scope, io::Result<(u64, FailureNotes)>>,
}

impl<'scope> MakerThread<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, root: &'env Path) -> Self {
        let (messages, received) = sync_channel(QUEUE_LENGTH);
        let thread = scope.spawn(move || {
            let mut making = MountWriter::new(root);
            for message in received {
                match message {
                    Message::Make { number, node } => {
                        let path = node.path.clone();
                        if let Err(error) = making.begin(number, node) {
                            making.notes.add(&path, &error);
                        }
                    }
                    Message::Piece { number, offset, bytes } => making.add(number, offset, &bytes)?,
                    Message::Finish => return Ok(making.finish()),
                    _ => return Err(unexpected_message()),
                }
            }
            // The connection was closed early; everything received is discarded.
            Err(io::ErrorKind::UnexpectedEof.into())
        });
        Self { messages, thread }
    }

    /// Moves everything into place. Returns the number of files, and the nodes that could not be created.
    fn finish(self) -> io::Result<(u64, FailureNotes)> {
        // If the thread has ended early, it returns its own error.
        let _ = self.messages.send(Message::Finish);
        self.thread.join().unwrap_or_else(|_| Err(unexpected_message()))
    }
}

fn unexpected_message() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the peer sent an unexpected message")
}

fn send_nodes(to: &mut impl Write, nodes: &[MountNode]) -> io::Result<()> {
    let mut frame = Vec::new();
    let mut size = 0;
    for node in nodes {
        frame.push(node.clone());
        size += size_of(node);
        if size > NODES_FRAME_SIZE {
            send(to, &Message::Nodes(std::mem::take(&mut frame)))?;
            size = 0;
        }
    }
    if frame.is_empty() { Ok(()) } else { send(to, &Message::Nodes(frame)) }
}

/// Sends the bytes of a listed file, and returns whether they are complete.
fn read(root: &Path, node: &MountNode, to: &mut impl Write) -> io::Result<ReadOutcome> {
    let MountNodeKind::File(size) = node.kind else { return Err(unexpected_message()) };
    let place = root.join(&node.path);
    let opened = std::fs::symlink_metadata(&place).and_then(|found| Ok((open(&place, &found)?, found)));
    let (mut file, found) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadOutcome::Changed),
        Err(_) => return Ok(ReadOutcome::Unreadable),
    };
    let is_same =
        |found: &Metadata| found.is_file() && found.len() == size && modified(found) == node.modified;
    if !is_same(&found) {
        return Ok(ReadOutcome::Changed);
    }
    let mut left = size;
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(PIECE_SIZE).min(PIECE_SIZE)];
    while left > 0 {
        let bytes = &mut buffer[..usize::try_from(left).unwrap_or(PIECE_SIZE).min(PIECE_SIZE)];
        match file.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(ReadOutcome::Changed),
            Err(_) => return Ok(ReadOutcome::Unreadable),
        }
        left -= bytes.len() as u64;
        send_content(to, bytes)?;
    }
    let is_whole = is_same(&file.metadata()?);
    // This read is not a use by the build. If the access time cannot be reset, the file counts as used.
    let _ = reset_access_time(&file, node.modified);
    Ok(if is_whole { ReadOutcome::Complete } else { ReadOutcome::Changed })
}
