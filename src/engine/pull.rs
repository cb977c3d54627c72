//! Pulling an image into the engine.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::image::api_credentials;
use super::moving::Moving;
use super::{Engine, EngineError};
use crate::registry::{Credentials, ImageRef};

impl Engine {
    /// Pulls `name` for `platform` (`OS/ARCHITECTURE[/VARIANT]`); `progress` is told the bytes so far, and those known of
    /// in all. Answers the bytes that came.
    ///
    /// # Errors
    ///
    /// Fails when the engine or the registry refuses, with its words.
    pub async fn pull(
        &self,
        name: &ImageRef,
        platform: &str,
        credentials: &Credentials,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, EngineError> {
        let reference = name.digest().or_else(|| name.tag()).unwrap_or("latest");
        let options = CreateImageOptionsBuilder::default()
            .from_image(&name.repository())
            .tag(reference)
            .platform(platform)
            .build();
        let credentials = api_credentials(name, credentials);
        let mut messages = Box::pin(self.docker.create_image(Some(options), None, credentials));
        let mut moving = Moving::default();
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| EngineError::new("to a pull", error))?;
            if let Some(detail) = message.error_detail {
                return Err(EngineError::Refused(detail.message.unwrap_or_default().trim().to_owned()));
            }
            let (Some(layer), Some(status)) = (message.id, message.status) else { continue };
            match status.as_str() {
                "Downloading" => moving.note(&layer, &message.progress_detail.unwrap_or_default()),
                "Download complete" => moving.complete(&layer),
                _ => continue,
            }
            let (done, total) = moving.sum();
            progress(done, total);
        }
        Ok(moving.sum().0)
    }
}
