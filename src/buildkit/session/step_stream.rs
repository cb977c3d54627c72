//! Byte streams between a step and this process, carried by SSH agent forwarding.
//!
//! A step that mounts `type=ssh` gets a socket, and BuildKit forwards each connection to the session. Nothing in that
//! is specific to SSH.

use std::io::{self, Read, Write};

use bollard_buildkit_proto::moby::sshforward::v1::BytesMessage;
use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};

/// Number of messages queued in each direction.
const QUEUE_LENGTH: usize = 8;
/// Size of a message to the step in bytes.
const MESSAGE_SIZE: usize = 256 << 10;

/// A connection that a step opened. It ends with the solve.
///
/// Reading and writing block, so they need a separate thread.
#[derive(Debug)]
pub(crate) struct StepStream {
    pub(crate) reader: StepReader,
    pub(crate) writer: StepWriter,
}

#[derive(Debug)]
pub(crate) struct StepReader {
    messages: mpsc::Receiver<Vec<u8>>,
    current: Bytes,
}

/// Buffers bytes into large messages; flushing sends the last one.
#[derive(Debug)]
pub(crate) struct StepWriter {
    messages: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Read for StepReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.messages.blocking_recv() {
                Some(message) => self.current = message.into(),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for StepWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == MESSAGE_SIZE {
            self.flush()?;
        }
        let count = bytes.len().min(MESSAGE_SIZE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let message = std::mem::replace(&mut self.buffer, Vec::with_capacity(MESSAGE_SIZE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the step has ended");
        self.messages.blocking_send(message).map_err(gone)
    }
}

/// Sends a step's connection to `streams` and returns the messages for the step.
pub(super) fn connect(
    streams: &mpsc::Sender<StepStream>,
    mut from_step: Streaming<BytesMessage>,
) -> Result<impl Stream<Item = Result<BytesMessage, Status>> + Send + use<>, Status> {
    let (incoming, messages) = mpsc::channel(QUEUE_LENGTH);
    let (to_step, outgoing) = mpsc::channel(QUEUE_LENGTH);
    let stream = StepStream {
        reader: StepReader { messages, current: Bytes::new() },
        writer: StepWriter { messages: to_step, buffer: Vec::with_capacity(MESSAGE_SIZE) },
    };
    streams
        .try_send(stream)
        .map_err(|_| Status::unavailable("no receiver is waiting for this connection"))?;
    tokio::spawn(async move {
        while let Ok(Some(message)) = from_step.message().await {
            if incoming.send(message.data).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(outgoing).map(|data| Ok(BytesMessage { data })))
}
