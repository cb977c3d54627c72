//! Image archives: streamed out of the engine and into it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Engine, EngineError};

/// Timeout of a request that transfers an archive; the caller has its own deadline for the whole transfer.
const TRANSFER_TIMEOUT: Duration = Duration::from_hours(6);

/// Maximum number of available archive parts that are sent together.
const MAX_BATCH: usize = 64;

/// Maximum number of queued messages, each with several archive parts.
const QUEUE_LENGTH: usize = 16;

pub(crate) struct ArchiveReader {
    parts: mpsc::Receiver<Vec<Bytes>>,
    ready: VecDeque<Bytes>,
}

/// Returns a sender for [`Engine::save_image`], and a reader of the archive for a different thread.
pub(crate) fn archive_channel() -> (mpsc::Sender<Vec<Bytes>>, ArchiveReader) {
    let (sender, parts) = mpsc::channel(QUEUE_LENGTH);
    (sender, ArchiveReader { parts, ready: VecDeque::new() })
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = loop {
            match self.ready.front_mut() {
                Some(part) if part.is_empty() => drop(self.ready.pop_front()),
                Some(part) => break part,
                None => match self.parts.blocking_recv() {
                    Some(parts) => self.ready.extend(parts),
                    None => return Ok(0),
                },
            }
        };
        let size = part.len().min(buffer.len());
        part.copy_to_slice(&mut buffer[..size]);
        Ok(size)
    }
}

impl Engine {
    /// Sends the image `id` to `archive` in the format of `docker save`; ends early if the receiver is dropped.
    pub(crate) async fn save_image(
        &self,
        id: &str,
        archive: mpsc::Sender<Vec<Bytes>>,
    ) -> Result<(), EngineError> {
        let docker = self.docker.clone().with_timeout(TRANSFER_TIMEOUT);
        // Parts are small, and sending one to another thread takes as long as reading it.
        let mut parts = Box::pin(docker.export_image(id).ready_chunks(MAX_BATCH));
        while let Some(ready) = parts.next().await {
            let mut gathered = Vec::with_capacity(ready.len());
            for part in ready {
                gathered.push(part.map_err(|error| EngineError::new("save an image", error))?);
            }
            if archive.send(gathered).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Loads an archive into the engine as `docker load` does and returns the id of its image.
    pub(crate) async fn load_image(
        &self,
        archive: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<String, EngineError> {
        let docker = self.docker.clone().with_timeout(TRANSFER_TIMEOUT);
        let body = bollard::body_try_stream(ReceiverStream::new(archive));
        let options = ImportImageOptionsBuilder::default().build();
        let mut messages = Box::pin(docker.import_image(options, body, None));
        let mut output = String::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| EngineError::new("load an image", error))?;
            output.extend(message.stream);
        }
        // After an error, containerd's store may contain the image, but cannot run it.
        let failed = output.lines().find(|line| line.starts_with("Error "));
        match (failed, loaded_id(&output)) {
            (None, Some(id)) => Ok(id),
            (failed, _) => Err(EngineError::Refused(
                failed.unwrap_or("the response does not contain the id of the loaded image").to_owned(),
            )),
        }
    }
}

/// Returns the id from `Loaded image ID: sha256:…`.
fn loaded_id(output: &str) -> Option<String> {
    let line = output.lines().find(|line| line.starts_with("Loaded image"))?;
    let id = &line[line.find("sha256:")?..];
    let digits = id["sha256:".len()..].chars().take_while(char::is_ascii_hexdigit).count();
    (digits == 64).then(|| id[.."sha256:".len() + digits].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_id_is_read_from_the_engines_message() {
        let id = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(loaded_id(&format!("x\nLoaded image ID: {id}\n")), Some(id.clone()));
        assert_eq!(loaded_id(&format!("Loaded image: moby-dangling@{id}\n")), Some(id));
        for output in ["", "Loaded image: app:1\n", "Loaded image ID: sha256:0a0a\n"] {
            assert_eq!(loaded_id(output), None, "{output}");
        }
    }
}
