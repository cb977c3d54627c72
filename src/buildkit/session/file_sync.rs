//! `moby.filesync.v1.FileSync`: sends the files of local directories that BuildKit requests.
//!
//! The fsutil protocol (tonistiigi/fsutil, `send.go`, `receive.go`), on one stream:
//!
//! ```text
//!   ──▶ STAT STAT STAT … STAT(empty)     every entry that passes the filters, in walk order
//!   ◀── REQ id, REQ id …                 files whose content BuildKit lacks; id = index in that order
//!   ──▶ DATA id, … DATA id (empty)       their content, interleaved, each ended by an empty packet
//!   ◀── FIN ──▶ FIN                      or ERR with a message from either side
//! ```
//!
//! Owners are sent as root, as Docker's client does, so that the local user never affects the image.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::{FileSync, FileSyncServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::header_text::{text, texts};
use super::{Reply, ReplyStream};
use crate::context::{self, ContextEntryKind, Filter};

pub(super) const METHODS: [&str; 2] =
    ["/moby.filesync.v1.FileSync/DiffCopy", "/moby.filesync.v1.FileSync/TarStream"];

/// Bytes of content in one packet.
const CHUNK: usize = 128 << 10;
const READERS: usize = 4;
const OUTGOING: usize = 64;

type Outgoing = mpsc::Sender<Result<Packet, Status>>;

#[derive(Debug, Clone)]
pub(crate) struct SharedDirectory {
    pub(crate) path: PathBuf,
    /// Patterns of files that are never sent, see [`Filter::withheld`].
    pub(crate) withheld: Vec<String>,
}

impl From<&Path> for SharedDirectory {
    fn from(path: &Path) -> Self {
        Self { path: path.to_owned(), withheld: Vec::new() }
    }
}

pub(super) fn service(directories: BTreeMap<String, SharedDirectory>) -> FileSyncServer<Directories> {
    FileSyncServer::new(Directories(directories))
}

pub(super) struct Directories(BTreeMap<String, SharedDirectory>);

#[tonic::async_trait]
impl FileSync for Directories {
    type DiffCopyStream = ReplyStream<Packet>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Reply<Self::DiffCopyStream> {
        let name = text(request.metadata(), "dir-name")?;
        let shared = self.0.get(&name).cloned();
        let SharedDirectory { path: root, withheld } =
            shared.ok_or_else(|| Status::not_found(format!("no access allowed to dir \"{name}\"")))?;
        let filter = Filter {
            include: texts(request.metadata(), "include-patterns")?,
            exclude: texts(request.metadata(), "exclude-patterns")?,
            follow: texts(request.metadata(), "followpaths")?,
            withheld,
        };
        let (outgoing, packets) = mpsc::channel(OUTGOING);
        let incoming = request.into_inner();
        tokio::spawn(async move {
            if let Err(status) = send(root, filter, incoming, &outgoing).await {
                // The receiver may have disconnected.
                drop(outgoing.send(Ok(error_packet(&status))).await);
                drop(outgoing.send(Err(status)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(packets))))
    }

    type TarStreamStream = ReplyStream<Packet>;

    async fn tar_stream(&self, _request: Request<Streaming<Packet>>) -> Reply<Self::TarStreamStream> {
        Err(Status::unimplemented("only the diffcopy protocol is supported"))
    }
}

/// Files that were announced but not requested yet, by id.
type AnnouncedFiles = Arc<Mutex<HashMap<u32, PathBuf>>>;

async fn send(
    root: PathBuf,
    filter: Filter,
    mut incoming: Streaming<Packet>,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let announced = AnnouncedFiles::default();
    let (requests, queue) = mpsc::unbounded_channel::<(u32, PathBuf)>();
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks = tokio::task::JoinSet::new();
    {
        let (announced, outgoing) = (Arc::clone(&announced), outgoing.clone());
        tasks.spawn_blocking(move || announce(&root, &filter, &announced, &outgoing));
    }
    for _ in 0..READERS {
        let (queue, outgoing) = (Arc::clone(&queue), outgoing.clone());
        tasks.spawn_blocking(move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                let Some((id, path)) = next else { return Ok(()) };
                send_file(id, &path, &outgoing)?;
            }
        });
    }
    loop {
        tokio::select! {
            packet = incoming.message() => {
                let Some(packet) = packet? else { return Ok(()) };
                match packet.r#type() {
                    PacketType::PacketReq => {
                        let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
                        let path = announced.remove(&packet.id);
                        let path = path.ok_or_else(|| Status::invalid_argument("invalid file id"))?;
                        // The readers live as long as this loop and fail only together with it.
                        drop(requests.send((packet.id, path)));
                    }
                    PacketType::PacketFin => break,
                    PacketType::PacketErr => {
                        return Err(Status::aborted(String::from_utf8_lossy(&packet.data)));
                    }
                    PacketType::PacketStat | PacketType::PacketData => {
                        return Err(Status::invalid_argument("unexpected packet"));
                    }
                }
            }
            Some(done) = tasks.join_next() => {
                done.map_err(|error| Status::internal(error.to_string()))??;
            }
        }
    }
    outgoing.send(Ok(empty_packet(PacketType::PacketFin))).await.map_err(closed)
}

fn announce(
    root: &Path,
    filter: &Filter,
    announced: &AnnouncedFiles,
    outgoing: &Outgoing,
) -> Result<(), Status> {
    let failed = |error: context::ContextError| {
        let source = std::error::Error::source(&error);
        Status::internal(source.map_or(error.to_string(), |source| format!("{error}: {source}")))
    };
    for (id, entry) in (0..).zip(context::walk(root, filter).map_err(failed)?) {
        let entry = entry.map_err(failed)?;
        // A socket is sent as an empty file, and a hard link may be requested as well.
        if matches!(
            entry.kind,
            ContextEntryKind::File | ContextEntryKind::HardLink(_) | ContextEntryKind::Socket
        ) {
            let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
            announced.insert(id, entry.absolute.clone());
        }
        put(outgoing, Packet { stat: Some(stat(entry)), ..Packet::default() })?;
    }
    put(outgoing, Packet::default())
}

fn stat(entry: context::ContextEntry) -> Stat {
    let metadata = &entry.metadata;
    let mut stat = Stat {
        mode: context::go_mode(metadata),
        size: i64::try_from(entry.size()).unwrap_or(i64::MAX),
        mod_time: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        xattrs: context::xattrs(&entry.absolute).into_iter().collect(),
        path: entry.path,
        ..Stat::default()
    };
    match entry.kind {
        ContextEntryKind::Symlink(name) | ContextEntryKind::HardLink(name) => stat.linkname = name,
        ContextEntryKind::CharDevice | ContextEntryKind::BlockDevice => {
            let (major, minor) = context::device(metadata);
            (stat.devmajor, stat.devminor) = (i64::from(major), i64::from(minor));
        }
        ContextEntryKind::File
        | ContextEntryKind::Directory
        | ContextEntryKind::Fifo
        | ContextEntryKind::Socket => {}
    }
    stat
}

/// Sends a file's content. Like fsutil, a file that vanished since it was announced is sent as empty. An unreadable
/// file is an error, whereas fsutil sends it as empty, too.
fn send_file(id: u32, path: &Path, outgoing: &Outgoing) -> Result<(), Status> {
    let data = |data| Packet { id, data, ..empty_packet(PacketType::PacketData) };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(unreadable(path, &error));
        }
        opened => opened.ok(),
    };
    if let Some(mut file) = file {
        let size = file.metadata()?.len();
        let capacity = usize::try_from(size).unwrap_or(CHUNK).saturating_add(1).min(CHUNK);
        loop {
            let mut chunk = Vec::with_capacity(capacity);
            let read = (&mut file).take(capacity as u64).read_to_end(&mut chunk);
            read.map_err(|error| unreadable(path, &error))?;
            if chunk.is_empty() {
                break;
            }
            let last = chunk.len() < capacity;
            put(outgoing, data(chunk))?;
            if last {
                break;
            }
        }
    }
    put(outgoing, data(Vec::new()))
}

fn unreadable(path: &Path, error: &io::Error) -> Status {
    Status::internal(format!("cannot read {}: {error}", path.display()))
}

fn put(outgoing: &Outgoing, packet: Packet) -> Result<(), Status> {
    outgoing.blocking_send(Ok(packet)).map_err(closed)
}

pub(super) fn closed<T>(_: mpsc::error::SendError<T>) -> Status {
    Status::cancelled("the engine closed the connection")
}

pub(super) fn empty_packet(kind: PacketType) -> Packet {
    Packet { r#type: kind.into(), ..Packet::default() }
}

pub(super) fn error_packet(status: &Status) -> Packet {
    Packet { data: status.message().as_bytes().to_vec(), ..empty_packet(PacketType::PacketErr) }
}
