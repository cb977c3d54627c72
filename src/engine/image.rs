//! Images of the engine: finding, tagging and removing them.

use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::models::{ImageInspect, ImageManifestSummaryKindEnum, ImageSummary, SystemInfo};
use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder};
use jiff::Timestamp;

use super::{Engine, EngineError, is_not_found};
use crate::registry::{Credentials, ImageConfig, ImageRef, RegistryAccess};

/// An image in the engine.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    pub(crate) names: Vec<String>,
    /// `REPOSITORY@sha256:…` for each repository that it was pulled from or pushed to.
    pub(crate) repository_digests: Vec<String>,
    /// The size of the layers in bytes.
    pub(crate) size: u64,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// The settings that a build based on the image inherits.
    pub(crate) config: ImageConfig,
    pub(crate) created: Option<Timestamp>,
}

impl Image {
    /// Returns the image's digest in its registry if it equals the id. containerd's store identifies an image by the
    /// digest of the pulled manifest, which may be an index with images for other platforms.
    pub(crate) fn manifest_digest(&self) -> Option<&str> {
        let digests = self.repository_digests.iter().filter_map(|known| known.rsplit_once('@'));
        digests.map(|(_, digest)| digest).find(|digest| *digest == self.id)
    }
}

/// Maximum number of images whose layers are queried.
const MAX_QUERIED_IMAGES: usize = 32;

/// The kind of image store that an engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStore {
    /// Docker's own store, based on a graph driver.
    GraphDriver,
    /// containerd's image store.
    Containerd,
}

impl Engine {
    /// Returns the image with this name or id, or `None` if the engine does not have it.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let found = match self.docker.inspect_image(name).await {
            Ok(found) => found,
            Err(error) if is_not_found(&error) => return Ok(None),
            Err(error) => return Err(EngineError::new("inspect an image", error)),
        };
        let config = config(&found).map_err(|error| EngineError::new("inspect an image", error))?;
        Ok(Some(Image {
            created: found.created.as_deref().and_then(|created| created.parse().ok()),
            id: found.id.unwrap_or_default(),
            names: found.repo_tags.unwrap_or_default(),
            repository_digests: found.repo_digests.unwrap_or_default(),
            size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            platform: config.platform(),
            config,
        }))
    }

    /// Tags an image with the names that it lacks; `present` are the names that it has.
    pub(crate) async fn add_names(
        &self,
        id: &str,
        present: &[String],
        names: &[ImageRef],
    ) -> Result<(), EngineError> {
        for name in names.iter().filter(|name| !present.contains(&name.familiar())) {
            self.tag(id, name).await?;
        }
        Ok(())
    }

    /// Tags the image `id` with `name`, removing the tag from any other image.
    pub(crate) async fn tag(&self, id: &str, name: &ImageRef) -> Result<(), EngineError> {
        let options =
            TagImageOptionsBuilder::default().repo(&name.repository()).tag(name.tag_or_latest()).build();
        let tagged = self.docker.tag_image(id, Some(options)).await;
        tagged.map_err(|error| EngineError::new("tag an image", error))
    }

    /// Returns how many of `layers` (digests of uncompressed layers, lowest first) the newest images of the engine
    /// start with. All images are queried only if neither those of the repository `name` nor untagged ones have half of
    /// the layers, because containerd's store needs milliseconds for each image that it lists.
    pub(crate) async fn common_layers(&self, layers: &[String], name: &str) -> Result<usize, EngineError> {
        let mut common = 0;
        for filter in [Some(("reference", name)), Some(("dangling", "true")), None] {
            if common * 2 < layers.len() {
                common = common.max(self.common_layers_of(filter, layers).await?);
            }
        }
        Ok(common)
    }

    async fn common_layers_of(
        &self,
        filter: Option<(&str, &str)>,
        layers: &[String],
    ) -> Result<usize, EngineError> {
        let mut images = self.list_images(filter, false).await?;
        images.sort_unstable_by_key(|image| std::cmp::Reverse(image.created));
        let queries = images.iter().take(MAX_QUERIED_IMAGES).map(|image| self.image(&image.id));
        let found = futures_util::future::join_all(queries).await.into_iter().flatten().flatten();
        let common = found.map(|image| {
            let shared = image.config.layers.iter().zip(layers).take_while(|(theirs, ours)| theirs == ours);
            shared.count()
        });
        Ok(common.max().unwrap_or_default())
    }

    /// Returns `true` if the engine reports which content of an image it has: API 1.47 and later (Docker 27.2).
    pub(crate) fn reports_content(&self) -> bool {
        let version = self.docker.client_version();
        (version.major_version, version.minor_version) >= (1, 47)
    }

    /// Returns `true` if containerd's store has all content of the image `id`. Requires [`Engine::reports_content`].
    pub(crate) async fn has_all_content(&self, id: &str) -> Result<bool, EngineError> {
        let names = self.image(id).await?.unwrap_or_default().names;
        let filter = names.first().map_or(("dangling", "true"), |name| ("reference", name));
        let images = self.list_images(Some(filter), true).await?;
        let image = images.into_iter().find(|image| image.id == id);
        let manifests = image.and_then(|image| image.manifests).unwrap_or_default();
        Ok(!manifests.is_empty() && manifests.iter().all(|manifest| manifest.available))
    }

    /// Returns the number of platforms for which the engine has content of the image `name`. Requires
    /// [`Engine::reports_content`].
    pub(super) async fn platform_count(&self, name: &ImageRef) -> Result<usize, EngineError> {
        let familiar = name.familiar();
        let images = self.list_images(Some(("reference", &familiar)), true).await?;
        let manifests = images.into_iter().flat_map(|image| image.manifests.unwrap_or_default());
        let is_image = |kind| kind == Some(ImageManifestSummaryKindEnum::IMAGE);
        Ok(manifests.filter(|manifest| manifest.available && is_image(manifest.kind)).count())
    }

    async fn list_images(
        &self,
        filter: Option<(&str, &str)>,
        manifests: bool,
    ) -> Result<Vec<ImageSummary>, EngineError> {
        let filters = filter.into_iter().map(|(name, value)| (name, vec![value])).collect();
        let options = ListImagesOptionsBuilder::default().filters(&filters).manifests(manifests).build();
        let listed = self.docker.list_images(Some(options)).await;
        listed.map_err(|error| EngineError::new("list its images", error))
    }

    /// Removes an image by its id, with all its names and the layers that no other image uses. Fails if a container
    /// uses it.
    pub(crate) async fn remove_image(&self, id: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_image(id, None::<RemoveImageOptions>, None).await;
        removed.map(drop).map_err(|error| EngineError::new("remove an image", error))
    }

    /// Removes a name of an image, and the image with its last name. An unknown name is not an error.
    pub(crate) async fn remove_name(&self, name: &ImageRef) -> Result<(), EngineError> {
        match self.docker.remove_image(&name.familiar(), None::<RemoveImageOptions>, None).await {
            Err(error) if !is_not_found(&error) => Err(EngineError::new("remove a name of an image", error)),
            _ => Ok(()),
        }
    }

    /// Returns the digest of `name` in its registry, queried through the engine, or `None` if it does not exist there.
    pub(crate) async fn registry_digest(
        &self,
        name: &ImageRef,
        credentials: &Credentials,
    ) -> Result<Option<String>, EngineError> {
        let credentials = api_credentials(name, credentials);
        match self.docker.inspect_registry_image(&name.to_string(), credentials).await {
            Ok(found) => Ok(found.descriptor.digest),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(EngineError::new("inspect an image in its registry", error)),
        }
    }

    /// Returns the kind of the engine's image store.
    ///
    /// # Errors
    ///
    /// Fails if the engine cannot be queried.
    pub async fn image_store(&self) -> Result<ImageStore, EngineError> {
        let info = self.info().await?;
        let containerd = info.driver_status.into_iter().flatten().flatten();
        let containerd = containerd.into_iter().any(|field| field == "io.containerd.snapshotter.v1");
        Ok(if containerd { ImageStore::Containerd } else { ImageStore::GraphDriver })
    }

    /// Returns the engine's id and its data root. The id alone does not identify the engine's data: old engines do not
    /// change it when the data root is cleared.
    pub(crate) async fn identity(&self) -> Result<String, EngineError> {
        let info = self.info().await?;
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(format!("{} {}", text(info.id), text(info.docker_root_dir)))
    }

    /// Returns the insecure registries and the mirrors of Docker Hub that the engine is configured with.
    pub(crate) async fn reach(&self) -> Result<RegistryAccess, EngineError> {
        let config = self.info().await?.registry_config.unwrap_or_default();
        let hosts = config.index_configs.unwrap_or_default().into_iter();
        let hosts = hosts.filter(|(_, index)| index.secure == Some(false)).map(|(host, _)| host);
        let networks = config.insecure_registry_cidrs.unwrap_or_default();
        let insecure = networks.into_iter().chain(hosts).collect();
        Ok(RegistryAccess {
            insecure_registries: insecure,
            mirrors: config.mirrors.unwrap_or_default(),
            ..RegistryAccess::default()
        })
    }

    /// Returns the path of the engine's data root, which may be on a different machine.
    pub(crate) async fn root_directory(&self) -> Result<Option<PathBuf>, EngineError> {
        Ok(self.info().await?.docker_root_dir.map(PathBuf::from))
    }

    pub(super) async fn info(&self) -> Result<SystemInfo, EngineError> {
        self.docker.info().await.map_err(|error| EngineError::new("read its configuration", error))
    }

    /// Returns the engine's default platform, `OS/ARCHITECTURE`.
    pub(crate) async fn platform(&self) -> Result<String, EngineError> {
        let version =
            self.docker.version().await.map_err(|error| EngineError::new("read its version", error))?;
        let os = version.os.unwrap_or_else(|| "linux".to_owned());
        Ok(format!("{os}/{}", version.arch.unwrap_or_else(|| "amd64".to_owned())))
    }
}

fn config(found: &ImageInspect) -> Result<ImageConfig, ApiError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(ImageConfig {
        os: text(&found.os),
        os_version: text(&found.os_version),
        architecture: text(&found.architecture),
        variant: text(&found.variant),
        author: text(&found.author),
        layers: found.root_fs.clone().and_then(|files| files.layers).unwrap_or_default(),
        // The engine and the image specification use the same names.
        settings: serde_json::from_value(serde_json::to_value(found.config.clone().unwrap_or_default())?)?,
    })
}

pub(super) fn api_credentials(name: &ImageRef, credentials: &Credentials) -> Option<DockerCredentials> {
    if credentials.is_anonymous() {
        return None;
    }
    let secret = Some(credentials.secret.clone());
    let serveraddress = Some(name.host().to_owned());
    Some(if credentials.username.is_empty() {
        DockerCredentials { identitytoken: secret, serveraddress, ..DockerCredentials::default() }
    } else {
        let username = Some(credentials.username.clone());
        DockerCredentials { username, password: secret, serveraddress, ..DockerCredentials::default() }
    })
}
