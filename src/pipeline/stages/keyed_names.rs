//! Names images whose name contains a key: base images.
//!
//! The key is computed before the build, and later builds that find the image by its key rely on it. The image is
//! therefore built without a name, and named only after the inputs were verified. If they have changed, the image gets
//! a name without a key, so that it can still be used.

use std::path::PathBuf;

use super::BuildPurpose;
use super::job::Job;
use crate::digest::Digest;
use crate::pipeline::changes;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::registries::PushError;
use crate::plan::{BuildSettings, OutputKind};
use crate::registry::{ImageRef, RegistryError};

/// The names of an image that contain its key, and the inputs of the key.
#[derive(Debug)]
pub(crate) struct KeyedNames {
    keys: BuildKeys,
    /// Further inputs of the key, with their digests.
    files: Vec<(PathBuf, Digest)>,
    nameless: BuildSettings,
    unkeyed: BuildSettings,
}

impl KeyedNames {
    /// `unkeyed` is the fallback. `has_images` is `true` if the engine stores images.
    pub(crate) fn new(
        build: &BuildSettings,
        unkeyed: ImageRef,
        (keys, files): (BuildKeys, Vec<(PathBuf, Digest)>),
        has_images: bool,
    ) -> Self {
        let mut nameless = BuildSettings { tags: Vec::new(), ..build.clone() };
        for output in nameless.outputs.iter_mut().filter(|_| !has_images) {
            if output.kind == (OutputKind::Image { push: true }) {
                // buildkitd pushes directly, and stores no image that could be named later.
                output.attributes.insert("name".to_owned(), unkeyed.repository());
                output.attributes.insert("push-by-digest".to_owned(), "true".to_owned());
            }
        }
        let unkeyed = BuildSettings { tags: vec![unkeyed], ..build.clone() };
        Self { keys, files, nameless, unkeyed }
    }

    async fn changed_inputs(&self) -> Vec<String> {
        let is_same = |path: &PathBuf, digest: &Digest| {
            std::fs::read(path).is_ok_and(|content| Digest::of(&content) == *digest)
        };
        let files = self.files.iter().filter(|(path, digest)| !is_same(path, digest));
        let mut changed: Vec<String> = files.map(|(path, _)| path.display().to_string()).collect();
        changed.extend(self.keys.changed_inputs().await);
        changed
    }
}

impl<'a> Job<'a> {
    /// Returns the settings for the export, without the names that are given after the build.
    pub(super) fn export_settings(&self) -> &'a BuildSettings {
        self.purpose.keyed.as_deref().map_or(self.build, |keyed| &keyed.nameless)
    }

    /// Returns the job with a name that does not contain a key, if inputs have changed since the key was computed.
    pub(super) async fn with_unkeyed_name(&self) -> Option<Self> {
        let purpose: &'a BuildPurpose = self.purpose;
        let keyed = purpose.keyed.as_deref().filter(|keyed| self.build.tags != keyed.unkeyed.tags)?;
        let changed = keyed.changed_inputs().await;
        if changed.is_empty() {
            return None;
        }
        let names: Vec<String> = keyed.unkeyed.tags.iter().map(ImageRef::familiar).collect();
        self.reporter.warn(&format!(
            "files changed while the base image was built ({}): it is named {} instead of by its key, and the next \
             build builds it again",
            changes::first_names(&changed),
            names.join(", "),
        ));
        Some(Self { build: &keyed.unkeyed, ..self.clone() })
    }

    pub(super) async fn give_names(&self, id: Option<&str>) -> Result<()> {
        let (Some(_), Some(id)) = (&self.purpose.keyed, id) else { return Ok(()) };
        if let Some(engine) = self.engine() {
            return Ok(engine.add_names(id, &[], &self.build.tags).await?);
        }
        for tag in &self.build.tags {
            let error = match self.tag_pushed(id, tag).await {
                Ok(true) => continue,
                Ok(false) => PushError::ImageMissing,
                Err(error) => error.into(),
            };
            return Err(self.push_error(tag, error).await);
        }
        Ok(())
    }

    /// Tags an image that was pushed by its digest. Returns `false` if the registry does not have the image.
    async fn tag_pushed(&self, digest: &str, tag: &ImageRef) -> Result<bool, RegistryError> {
        let mut repository = self.registries().repository(tag).await?;
        let Some(manifest) = repository.manifest(digest).await? else { return Ok(false) };
        repository.put_manifest(tag.tag_or_latest(), &manifest).await.map(|()| true)
    }
}
