//! Images as archives: out of the engine and into it, as streams.

use std::io;
use std::time::Duration;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Engine, EngineError};

/// How long a single answer may take while an archive is moved; who moves it has a deadline for all of it.
const PATIENCE: Duration = Duration::from_hours(6);

/// Parts of an archive that are handed on together, if they are there.
const GATHERED: usize = 64;

impl Engine {
    /// Sends the image `id`, as `docker save` writes it, to `archive`; ends early when nobody takes it any more.
    ///
    /// # Errors
    ///
    /// Fails when the engine has no such image or breaks off.
    pub(crate) async fn save_image(
        &self,
        id: &str,
        archive: mpsc::Sender<Vec<Bytes>>,
    ) -> Result<(), EngineError> {
        let docker = self.docker.clone().with_timeout(PATIENCE);
        // Parts are small, and handing one to another thread takes as long as reading it.
        let mut parts = Box::pin(docker.export_image(id).ready_chunks(GATHERED));
        while let Some(ready) = parts.next().await {
            let mut gathered = Vec::with_capacity(ready.len());
            for part in ready {
                gathered.push(part.map_err(|error| EngineError::new("with an image's archive", error))?);
            }
            if archive.send(gathered).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Hands an archive to the engine as `docker load` does; the id of the image in it.
    ///
    /// # Errors
    ///
    /// Fails when the engine refuses the archive, with its words, and when `archive` breaks off.
    pub(crate) async fn load_image(
        &self,
        archive: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<String, EngineError> {
        let docker = self.docker.clone().with_timeout(PATIENCE);
        let body = bollard::body_try_stream(ReceiverStream::new(archive));
        let options = ImportImageOptionsBuilder::default().build();
        let mut messages = Box::pin(docker.import_image(options, body, None));
        let mut said = String::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| EngineError::new("to an image's archive", error))?;
            said.extend(message.stream);
        }
        // containerd's store has the image then, but not in a form that runs.
        let failed = said.lines().find(|line| line.starts_with("Error "));
        match (failed, loaded_id(&said)) {
            (None, Some(id)) => Ok(id),
            (failed, _) => {
                Err(EngineError::Refused(failed.unwrap_or("it names no image that was loaded").to_owned()))
            }
        }
    }
}

/// The id in `Loaded image ID: sha256:…`.
fn loaded_id(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("Loaded image"))?;
    let id = &line[line.find("sha256:")?..];
    let digits = id["sha256:".len()..].chars().take_while(char::is_ascii_hexdigit).count();
    (digits == 64).then(|| id[.."sha256:".len() + digits].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_in_what_the_engine_says() {
        let id = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(loaded_id(&format!("x\nLoaded image ID: {id}\n")), Some(id.clone()));
        assert_eq!(loaded_id(&format!("Loaded image: moby-dangling@{id}\n")), Some(id));
        for said in ["", "Loaded image: app:1\n", "Loaded image ID: sha256:0a0a\n"] {
            assert_eq!(loaded_id(said), None, "{said}");
        }
    }
}
