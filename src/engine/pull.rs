//! Pulls images into the engine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::image::api_credentials;
use super::layer_progress::LayerProgress;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Prefixes of the status messages of a layer that was downloaded.
const DOWNLOADED: [&str; 4] = ["Download complete", "Already exists", "Extracting", "Pull complete"];

impl Engine {
    /// Pulls `name` for `platform` (`OS/ARCHITECTURE[/VARIANT]`) and returns the number of bytes downloaded; `progress`
    /// receives the bytes so far and the total known so far.
    ///
    /// If the engine fails to fetch a layer, the pull ends at once: the engine would retry for minutes. It also ends
    /// after [`STALL_TIMEOUT`] without progress.
    pub(crate) async fn pull(
        &self,
        name: &ImageRef,
        platform: &str,
        credentials: &Credentials,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, EngineError> {
        let reference = name.digest_or_tag();
        let options = CreateImageOptionsBuilder::default()
            .from_image(&name.repository())
            .tag(reference)
            .platform(platform)
            .build();
        let credentials = api_credentials(name, credentials);
        let mut messages = Box::pin(self.docker.create_image(Some(options), None, credentials));
        let mut moving = LayerProgress::default();
        let mut latest: HashMap<String, CreateImageInfo> = HashMap::new();
        let mut last_change = Instant::now();
        let stalled = || EngineError::Stalled { what: "the pull", after: STALL_TIMEOUT };
        // Before Docker 28, containerd's store reports nothing while it unpacks downloaded layers.
        let is_unpacking = |latest: &HashMap<String, CreateImageInfo>| {
            let is_downloaded = |message: &CreateImageInfo| {
                let status = message.status.as_deref().unwrap_or_default();
                DOWNLOADED.iter().any(|prefix| status.starts_with(prefix))
            };
            !latest.is_empty() && latest.values().all(is_downloaded)
        };
        loop {
            let message = match timeout(STALL_TIMEOUT, messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) if is_unpacking(&latest) => continue,
                Err(_) => return Err(stalled()),
            };
            let message = message.map_err(|error| EngineError::new("pull an image", error))?;
            if let Some(detail) = message.error_detail {
                return Err(EngineError::Refused(detail.message.unwrap_or_default().trim().to_owned()));
            }
            let (Some(layer), Some(status)) = (message.id.clone(), message.status.clone()) else { continue };
            if status.starts_with("Retrying") {
                return Err(EngineError::LayerNotFetched { layer });
            }
            // containerd's store repeats messages while it waits.
            if latest.get(&layer) != Some(&message) {
                latest.insert(layer.clone(), message.clone());
                last_change = Instant::now();
            } else if last_change.elapsed() > STALL_TIMEOUT && !is_unpacking(&latest) {
                return Err(stalled());
            }
            match status.as_str() {
                "Downloading" => moving.record(&layer, &message.progress_detail.unwrap_or_default()),
                "Download complete" => moving.complete(&layer),
                _ => continue,
            }
            let (done, total) = moving.totals();
            progress(done, total);
        }
        Ok(moving.totals().0)
    }
}
