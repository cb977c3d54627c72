//! Pushes images from the engine.

use std::collections::HashSet;

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;

use super::image::api_credentials;
use super::layer_progress::LayerProgress;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

/// The numbers of layers in a push. A layer that occurs several times in the image counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PushProgress {
    pub(crate) sent: usize,
    /// Layers that the registry already had.
    pub(crate) present: usize,
}

impl Engine {
    /// Pushes the image `name` to its registry; `progress` receives the bytes so far and the total known so far.
    pub(crate) async fn push(
        &self,
        name: &ImageRef,
        credentials: &Credentials,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<PushProgress, EngineError> {
        let options = PushImageOptionsBuilder::default().tag(name.tag_or_latest()).build();
        let credentials = api_credentials(name, credentials);
        let mut messages = Box::pin(self.docker.push_image(&name.repository(), Some(options), credentials));
        let mut state = PushProgress::default();
        let mut moving = LayerProgress::default();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| EngineError::new("push an image", error))?;
            if let Some(detail) = message.error_detail {
                return Err(EngineError::Refused(detail.message.unwrap_or_default().trim().to_owned()));
            }
            match message.status.as_deref().unwrap_or_default() {
                "Pushed" => state.sent += 1,
                "Layer already exists" => state.present += 1,
                status if status.starts_with("Mounted from") => state.present += 1,
                _ => {}
            }
            if let (Some("Pushing"), Some(detail)) = (message.status.as_deref(), message.progress_detail) {
                // bollard does not expose the layers' ids; their sizes distinguish them well enough for a progress bar.
                moving.record(&detail.total.unwrap_or_default().to_string(), &detail);
                let (done, total) = moving.totals();
                progress(done, total);
            }
        }
        if let Some(layers) = self.layer_count(name).await {
            state.sent = state.sent.min(layers.saturating_sub(state.present));
        }
        Ok(state)
    }

    /// Returns the number of distinct layers of the image `name`, or `None` if it has several platforms.
    ///
    /// containerd's store reports attestation statements like layers, as `Pushed`.
    async fn layer_count(&self, name: &ImageRef) -> Option<usize> {
        let image = self.image(&name.familiar()).await.ok()??;
        let layers: HashSet<&String> = image.config.layers.iter().collect();
        let platforms = if self.reports_content() { self.platform_count(name).await.ok()? } else { 1 };
        (platforms <= 1).then_some(layers.len())
    }
}
