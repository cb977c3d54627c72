//! Pushing an image that the engine has.

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;

use super::image::api_credentials;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

/// How far a push is, in layers.
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
    /// Pushes the image called `name` to its registry; `progress` is called for each layer that is done.
    ///
    /// # Errors
    ///
    /// Fails when the engine or the registry refuses, with its words.
    pub async fn push(
        &self,
        name: &ImageRef,
        credentials: &Credentials,
        mut progress: impl FnMut(PushProgress),
    ) -> Result<PushProgress, EngineError> {
        let options = PushImageOptionsBuilder::default().tag(name.tag().unwrap_or("latest")).build();
        let credentials = api_credentials(name, credentials);
        let mut messages = Box::pin(self.docker.push_image(&name.repository(), Some(options), credentials));
        let mut state = PushProgress::default();
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
                _ => continue,
            }
            progress(state);
        }
        Ok(state)
    }
}
