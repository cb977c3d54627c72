//! Pushing an image that the engine has.

use std::collections::HashSet;

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;

use super::image::api_credentials;
use super::moving::Moving;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

/// What a push came to, in layers. One that the image has several times counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// Layers sent.
    pub(crate) sent: usize,
    /// Layers that the registry had already.
    pub(crate) present: usize,
}

impl Engine {
    /// Pushes the image called `name` to its registry; `progress` is told the bytes so far, and those known of in all.
    ///
    /// # Errors
    ///
    /// Fails when the engine or the registry refuses, with its words.
    pub(crate) async fn push(
        &self,
        name: &ImageRef,
        credentials: &Credentials,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<PushProgress, EngineError> {
        let options = PushImageOptionsBuilder::default().tag(name.tag().unwrap_or("latest")).build();
        let credentials = api_credentials(name, credentials);
        let mut messages = Box::pin(self.docker.push_image(&name.repository(), Some(options), credentials));
        let mut state = PushProgress::default();
        let mut moving = Moving::default();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| EngineError::new("to a push", error))?;
            if let Some(detail) = message.error_detail {
                return Err(EngineError::Refused(detail.message.unwrap_or_default().trim().to_owned()));
            }
            match message.status.as_deref().unwrap_or_default() {
                "Pushed" => state.sent += 1,
                "Layer already exists" => state.present += 1,
                status if status.starts_with("Mounted from") => state.present += 1,
                _ => {}
            }
            if let (Some("Pushing"), Some(told)) = (message.status.as_deref(), message.progress_detail) {
                // bollard hands on no names of layers; their sizes tell them apart well enough for a progress bar.
                moving.note(&told.total.unwrap_or_default().to_string(), &told);
                let (done, total) = moving.sum();
                progress(done, total);
            }
        }
        if let Some(layers) = self.layers_of(name).await {
            state.sent = state.sent.min(layers.saturating_sub(state.present));
        }
        Ok(state)
    }

    /// Returns the number of different layers of the image called `name`, if that is known: not for several platforms.
    ///
    /// containerd's store reports the statements of attestations like layers, as `Pushed`.
    async fn layers_of(&self, name: &ImageRef) -> Option<usize> {
        let image = self.image(&name.familiar()).await.ok()??;
        let layers: HashSet<&String> = image.config.layers.iter().collect();
        let platforms = if self.tells_content() { self.platforms_of(name).await.ok()? } else { 1 };
        (platforms <= 1).then_some(layers.len())
    }
}
