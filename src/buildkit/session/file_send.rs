//! `moby.filesync.v1.FileSend`: receives the output of a file exporter.
//!
//! One method carries two protocols: the `tar`, `oci` and `docker` exporters send plain bytes, the `local` exporter
//! sends a tree in the fsutil protocol (see `file_sync`). The requested exporter determines which.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::moby::filesync::packet::file_send_server as tree;
use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server as bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::directory_output::DirectoryOutput;
use super::file_sync::{closed, empty_packet, error_packet};
use super::{Reply, ReplyStream};
use crate::buildkit::client::MAX_MESSAGE;
use crate::regular_file::{PUBLIC, PendingFile};

pub(super) const METHODS: [&str; 1] = ["/moby.filesync.v1.FileSend/DiffCopy"];

pub(crate) enum FileTarget {
    /// The directory for `type=local`.
    Directory(PathBuf),
    /// The file for `type=tar`, `oci` or `docker`.
    File(OutputFile),
}

pub(crate) enum OutputFile {
    /// A path, which is replaced only after the build has succeeded.
    Path(PathBuf),
    Stream(Box<dyn Write + Send>),
}

pub(super) fn file_service(file: OutputFile) -> bytes::FileSendServer<FileReceiver> {
    bytes::FileSendServer::new(FileReceiver(Mutex::new(Some(file)))).max_decoding_message_size(MAX_MESSAGE)
}

pub(super) fn directory_service(path: PathBuf) -> tree::FileSendServer<TreeReceiver> {
    tree::FileSendServer::new(TreeReceiver(path)).max_decoding_message_size(MAX_MESSAGE)
}

pub(super) struct FileReceiver(Mutex<Option<OutputFile>>);

#[tonic::async_trait]
impl bytes::FileSend for FileReceiver {
    type DiffCopyStream = ReplyStream<BytesMessage>;

    async fn diff_copy(&self, request: Request<Streaming<BytesMessage>>) -> Reply<Self::DiffCopyStream> {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut sink = OutputSink::open(
            file.ok_or_else(|| Status::already_exists("the engine sent the output twice"))?,
        )?;
        let mut incoming = request.into_inner();
        while let Some(message) = incoming.message().await? {
            // Blocking writes: the next message is read only when this one was written.
            sink.writer().write_all(&message.data).map_err(|error| sink.failed(&error))?;
        }
        sink.finish()?;
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}

enum OutputSink {
    Path(PendingFile, PathBuf),
    Stream(Box<dyn Write + Send>),
}

impl OutputSink {
    fn open(file: OutputFile) -> Result<Self, Status> {
        match file {
            OutputFile::Stream(stream) => Ok(Self::Stream(stream)),
            OutputFile::Path(path) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new("."));
                let open = || {
                    std::fs::create_dir_all(directory)?;
                    PendingFile::create(&path, PUBLIC)
                };
                open().map(|temporary| Self::Path(temporary, path.clone())).map_err(|e| failed(&path, &e))
            }
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Path(temporary, _) => temporary,
            Self::Stream(stream) => stream,
        }
    }

    fn failed(&self, error: &io::Error) -> Status {
        match self {
            Self::Path(_, path) => failed(path, error),
            Self::Stream(_) => failed(Path::new("the output stream"), error),
        }
    }

    fn finish(mut self) -> Result<(), Status> {
        self.writer().flush().map_err(|error| self.failed(&error))?;
        if let Self::Path(temporary, path) = self {
            temporary.replace().map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Status {
    Status::internal(format!("cannot write {}: {error}", path.display()))
}

pub(super) struct TreeReceiver(PathBuf);

#[tonic::async_trait]
impl tree::FileSend for TreeReceiver {
    type DiffCopyStream = ReplyStream<Packet>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Reply<Self::DiffCopyStream> {
        let output = DirectoryOutput::open(&self.0).map_err(|error| failed(&self.0, &error))?;
        // Reading must not wait for writing: the engine may not read requests until its data was received.
        let (outgoing, answers) = mpsc::unbounded_channel();
        let (root, incoming) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(status) = receive(output, &root, incoming, &outgoing).await {
                // The sender may have disconnected.
                drop(outgoing.send(Ok(error_packet(&status))));
                drop(outgoing.send(Err(status)));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}

async fn receive(
    mut output: DirectoryOutput,
    root: &Path,
    mut incoming: Streaming<Packet>,
    outgoing: &mpsc::UnboundedSender<Result<Packet, Status>>,
) -> Result<(), Status> {
    let mut next_id = 0;
    let mut listed = false;
    let mut awaited = 0_usize;
    while let Some(packet) = incoming.message().await? {
        match packet.r#type() {
            PacketType::PacketStat => match packet.stat {
                Some(stat) => {
                    if output.add(next_id, stat).map_err(|error| failed(root, &error))? {
                        awaited += 1;
                        let request = Packet { id: next_id, ..empty_packet(PacketType::PacketReq) };
                        outgoing.send(Ok(request)).map_err(closed)?;
                    }
                    next_id += 1;
                }
                None => listed = true,
            },
            PacketType::PacketData => {
                if output.write(packet.id, &packet.data).map_err(|error| failed(root, &error))? {
                    awaited -= 1;
                }
            }
            PacketType::PacketErr => return Err(Status::aborted(String::from_utf8_lossy(&packet.data))),
            PacketType::PacketFin => return Ok(()),
            PacketType::PacketReq => return Err(Status::invalid_argument("unexpected packet")),
        }
        if listed && awaited == 0 {
            listed = false;
            output.finish().map_err(|error| failed(root, &error))?;
            outgoing.send(Ok(empty_packet(PacketType::PacketFin))).map_err(closed)?;
        }
    }
    Ok(())
}
