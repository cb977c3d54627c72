//! Pushing an image that the engine has.

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;

use super::image::api_credentials;
use super::moving::Moving;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

/// What a push came to, in layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushProgress {
    /// Layers of the image.
    pub layers: usize,
    /// Layers sent.
    pub sent: usize,
    /// Layers that the registry had already.
    pub present: usize,
}

impl Engine {
    /// Pushes the image called `name` to its registry; `progress` is told the bytes so far, and those known of in all.
    ///
    /// # Errors
    ///
    /// Fails when the engine or the registry refuses, with its words.
    pub async fn push(
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
                "Preparing" => state.layers += 1,
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
        Ok(state)
    }
}
