//! Manifests, configs and tags of images in a registry.
//!
//! Plain HTTP is used only for insecure registries, and only after HTTPS failed, as in Docker. Everything fetched by
//! digest is verified, and nothing larger than a manifest or a config is read. Errors name the registry and the
//! repository, never credentials or tokens.

use bytes::Bytes;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::config::{creation_time, layer_times};
use super::connection::{Connection, RegistryRequest, RegistryResponse};
use super::platform::compatibility_rank;
use super::prefix::{PrefixMark, prefix_mark};
use super::reference::HUB;
use super::{
    Compression, CredentialSource, Credentials, ImageConfig, ImageRef, RegistryAccess, RegistryError,
};
use crate::digest::Digest;
use crate::http_retry::pause_after;

const MAX_DEPTH: usize = 3;
/// The maximum number of index entries without a platform whose configs are read.
const MAX_INSPECTED: usize = 4;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteImage {
    /// The digest that the tag resolves to: of an index, or of the manifest itself.
    pub(crate) target: Digest,
    pub(crate) manifest: Digest,
    /// The digest of the config, by which engines with a graph driver identify the image.
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) created: Option<Timestamp>,
    /// See [`layer_times`].
    layer_times: Vec<Option<Timestamp>>,
    layer_types: Vec<String>,
    /// The mark, if the image is a prefix that larder has made.
    pub(crate) prefix: Option<PrefixMark>,
    /// `true` if the name refers to this image only, and not to those of other platforms.
    pub(crate) is_only_image: bool,
}

impl RemoteImage {
    /// Returns `true` if a manifest for this compression has media types for all layers.
    pub(crate) fn supports_compression(&self, compression: Compression) -> bool {
        self.layer_types
            .iter()
            .filter_map(|of| Compression::from_media_type(of))
            .all(|layer| compression.supports_layer(layer))
    }

    /// Returns the time of the oldest step that made a layer above the lowest `base_layers`, if the image states it.
    pub(crate) fn oldest_step(&self, base_layers: usize) -> Option<Timestamp> {
        self.layer_times.get(base_layers..)?.iter().flatten().min().copied()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    content_type: Option<String>,
    pub(super) bytes: Bytes,
}

pub(super) fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

impl StoredManifest {
    /// Creates a manifest of this media type, which is not in a registry yet.
    pub(crate) fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), content_type: Some(media_type.to_owned()), bytes: bytes.into() }
    }

    /// Returns the digests and sizes of the layers of an image, or of the blobs of an index.
    pub(crate) fn blob_sizes(&self) -> Vec<(String, u64)> {
        #[derive(serde::Deserialize)]
        struct Blob {
            digest: String,
            size: u64,
        }
        #[derive(serde::Deserialize)]
        struct Blobs {
            #[serde(default, alias = "manifests")]
            layers: Vec<Blob>,
        }
        let blobs: Option<Blobs> = serde_json::from_slice(&self.bytes).ok();
        blobs.into_iter().flat_map(|blobs| blobs.layers).map(|blob| (blob.digest, blob.size)).collect()
    }

    /// Creates a manifest of the same media type, which is not in a registry yet.
    pub(super) fn with_bytes(&self, bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), content_type: self.content_type.clone(), bytes: bytes.into() }
    }

    /// Returns the media type: the one in the manifest, else the one that the registry reported, else one that fits the
    /// fields.
    fn media_type(&self, parsed: &ManifestDocument) -> String {
        let reported = self.content_type.as_deref().filter(|reported| MEDIA_TYPES.contains(reported));
        let fitting = if parsed.config.is_some() { OCI_MANIFEST } else { OCI_INDEX };
        let stated = Some(parsed.media_type.as_str()).filter(|stated| !stated.is_empty());
        stated.or(reported).unwrap_or(fitting).to_owned()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument {
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) digest: Digest,
    /// Size in bytes.
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<ManifestPlatform>,
}

impl Descriptor {
    fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
    }
}

#[derive(Debug, Deserialize, Clone)]
struct ManifestPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default, rename = "os.version")]
    os_version: String,
}

impl ManifestPlatform {
    fn text(&self) -> String {
        let Self { os, architecture, variant, os_version } = self;
        format!("{os}({os_version})/{architecture}/{variant}").trim_end_matches('/').replace("()", "")
    }
}

/// Queries the registry of `name` for its image of `platform` (`OS/ARCHITECTURE[/VARIANT]`). The mirrors of Docker Hub
/// are queried before it.
///
/// Returns `None` if the name does not exist or has no image for the platform.
pub(crate) async fn remote_image(
    name: &ImageRef,
    platform: &str,
    identity: impl Into<CredentialSource>,
    reach: &RegistryAccess,
) -> Result<Option<RemoteImage>, RegistryError> {
    let mirrors = if name.host() == HUB { reach.mirrors.as_slice() } else { &[] };
    for mirror in mirrors {
        // If a mirror fails or does not have the image, Docker Hub itself is queried.
        if let Some(mut mirror) = Repository::for_mirror(mirror, name, reach)
            && let Ok(Some(found)) = mirror.image_by_name(name, platform).await
        {
            return Ok(Some(found));
        }
    }
    Repository::new(name, identity, reach)?.image_by_name(name, platform).await
}

#[derive(Clone)]
pub(crate) struct Repository {
    pub(super) connection: Connection,
}

impl Repository {
    /// Creates a client for the repository of `name`; nothing is sent yet. Fails if this machine's certificates for the
    /// registry are unusable.
    pub(crate) fn new(
        name: &ImageRef,
        identity: impl Into<CredentialSource>,
        reach: &RegistryAccess,
    ) -> Result<Self, RegistryError> {
        Ok(Self { connection: Connection::new(name, identity.into(), reach)? })
    }

    /// Creates a client for Docker Hub's `name` in a mirror, or returns `None` if the mirror's address is unusable.
    fn for_mirror(mirror: &str, name: &ImageRef, reach: &RegistryAccess) -> Option<Self> {
        let (scheme, host) = mirror.trim_end_matches('/').split_once("://")?;
        let scheme = ["https", "http"].into_iter().find(|known| *known == scheme)?;
        let name = name.in_registry(host)?;
        let anonymous = CredentialSource::Known(Credentials::default());
        let connection = Connection::with_schemes(&name, vec![scheme], anonymous, reach).ok()?;
        Some(Self { connection })
    }

    pub(crate) fn with_name(&self, name: &ImageRef) -> Self {
        Self { connection: self.connection.with_name(name) }
    }

    /// Returns `HOST/PATH`.
    pub(crate) fn name(&self) -> String {
        self.connection.name.repository()
    }

    pub(crate) fn image_name(&self) -> &ImageRef {
        &self.connection.name
    }

    async fn image_by_name(
        &mut self,
        name: &ImageRef,
        platform: &str,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        let reference = name.digest_or_tag();
        let Some(stored) = self.manifest(reference).await? else { return Ok(None) };
        self.image(&stored, platform).await
    }

    /// Returns the manifest of a tag or digest, or `None` if it does not exist.
    pub(crate) async fn manifest(
        &mut self,
        reference: &str,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        let answer = self.get_if_exists(&document_request("manifests", reference)).await?;
        let Some(RegistryResponse { headers, body, .. }) = answer else { return Ok(None) };
        let digest = Digest::of(&body);
        if reference.contains(':') && reference != digest.to_string() {
            return Err(self.connection.invalid_response("the manifest does not have the requested digest"));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|value| value.split(';').next());
        let content_type = content_type.map(|value| value.trim().to_owned());
        Ok(Some(StoredManifest { digest, content_type, bytes: body.into() }))
    }

    pub(crate) async fn put_all(
        &self,
        tags: impl Iterator<Item = &str>,
        manifest: &StoredManifest,
    ) -> Result<(), RegistryError> {
        let uploads = tags.map(|tag| {
            let mut repository = self.clone();
            async move { repository.put_manifest(tag, manifest).await }
        });
        try_join_all(uploads).await.map(drop)
    }

    /// Uploads a manifest under a tag. All its parts must be in the repository. If tags are immutable, a tag that
    /// already refers to this manifest is accepted.
    pub(crate) async fn put_manifest(
        &mut self,
        tag: &str,
        manifest: &StoredManifest,
    ) -> Result<(), RegistryError> {
        let parsed = self.parse_manifest(&manifest.bytes)?;
        let media_type = manifest.media_type(&parsed);
        let media_type = HeaderValue::try_from(media_type)
            .map_err(|_| self.connection.invalid_response("the media type of the manifest is malformed"))?;
        let call =
            RegistryRequest::new(Method::PUT, format!("manifests/{tag}")).header(CONTENT_TYPE, media_type);
        let call = call.body(manifest.bytes.clone());
        let mut answer = self.connection.call(&call).await?;
        // For a moment, docker-registry does not find a blob whose upload another job is completing.
        for attempt in [1, 2] {
            if answer.status == StatusCode::BAD_REQUEST {
                tokio::time::sleep(pause_after(attempt)).await;
                answer = self.connection.call(&call).await?;
            }
        }
        if answer.status.is_success() {
            return Ok(());
        }
        let refused = self.connection.status_error(&answer);
        match self.manifest(tag).await {
            Ok(Some(found)) if found.digest == manifest.digest => Ok(()),
            _ => Err(refused),
        }
    }

    /// Returns the stored manifest and config of an image of this repository, or `None` if one was removed.
    pub(crate) async fn documents(
        &mut self,
        image: &RemoteImage,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, RegistryError> {
        let manifest = self.verified_content("manifests", &image.manifest).await?;
        let config = self.verified_content("blobs", &image.id).await?;
        Ok(manifest.zip(config))
    }

    /// Returns the mark of a prefix, or `None` if the image has no mark or its config is missing or damaged.
    pub(crate) async fn prefix_mark(
        &mut self,
        stored: &StoredManifest,
        platform: &str,
    ) -> Result<Option<PrefixMark>, RegistryError> {
        match self.image(stored, platform).await {
            Err(RegistryError::InvalidResponse { .. }) => Ok(None),
            image => Ok(image?.and_then(|image| image.prefix)),
        }
    }

    /// Returns the digests of an index's entries; an empty list for a manifest.
    pub(crate) fn entries(&self, manifest: &StoredManifest) -> Result<Vec<Digest>, RegistryError> {
        Ok(self.parts(manifest)?.0.into_iter().map(|entry| entry.digest).collect())
    }

    /// Returns the entries of an index, and the config and layers of a manifest.
    pub(super) fn parts(
        &self,
        manifest: &StoredManifest,
    ) -> Result<(Vec<Descriptor>, Vec<Descriptor>), RegistryError> {
        let ManifestDocument { config, layers, manifests, .. } = self.parse_manifest(&manifest.bytes)?;
        Ok((manifests, config.into_iter().chain(layers).collect()))
    }

    /// Returns the image of `platform` that a manifest or index of this repository refers to.
    pub(crate) async fn image(
        &mut self,
        stored: &StoredManifest,
        platform: &str,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        let manifest = self.parse_manifest(&stored.bytes)?;
        self.resolve_image(stored.digest, stored.digest, manifest, platform, MAX_DEPTH).await
    }

    async fn resolve_image(
        &mut self,
        target: Digest,
        digest: Digest,
        manifest: ManifestDocument,
        platform: &str,
        depth: usize,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        if let Some(config) = manifest.config {
            let bytes = self.verified_content("blobs", &config.digest).await?;
            let invalid = |reason| self.connection.invalid_response(reason);
            let bytes = bytes.ok_or_else(|| invalid("the config of the image is missing"))?;
            return Ok(Some(RemoteImage {
                target,
                manifest: digest,
                id: config.digest,
                config: ImageConfig::parse(&bytes)
                    .map_err(|_| invalid("the config of the image is malformed"))?,
                created: creation_time(&bytes),
                layer_times: layer_times(&bytes),
                layer_types: manifest.layers.into_iter().map(|layer| layer.media_type).collect(),
                prefix: prefix_mark(&bytes),
                is_only_image: true,
            }));
        }
        let (Some(depth), false) = (depth.checked_sub(1), manifest.manifests.is_empty()) else {
            let reason = "it is neither the manifest of an image nor an index";
            return Err(self.connection.invalid_response(reason));
        };
        let is_alone = manifest.manifests.iter().filter(|entry| !entry.is_attestation()).count() == 1;
        for entry in candidates(&manifest.manifests, platform) {
            let Some(manifest) = self.verified_content("manifests", &entry.digest).await? else { continue };
            let manifest = self.parse_manifest(&manifest)?;
            let found = Box::pin(self.resolve_image(target, entry.digest, manifest, platform, depth)).await?;
            let fits = |image: &RemoteImage| compatibility_rank(&image.config.platform(), platform).is_some();
            if let Some(found) = found.filter(|image| entry.platform.is_some() || fits(image)) {
                return Ok(Some(RemoteImage { is_only_image: found.is_only_image && is_alone, ..found }));
            }
        }
        Ok(None)
    }

    fn parse_manifest(&self, bytes: &[u8]) -> Result<ManifestDocument, RegistryError> {
        let manifest: ManifestDocument = serde_json::from_slice(bytes)
            .map_err(|_| self.connection.invalid_response("the manifest is malformed"))?;
        // OCI manifests may omit their media type; Docker's first format has neither config nor entries.
        if manifest.media_type.is_empty() || MEDIA_TYPES.contains(&manifest.media_type.as_str()) {
            Ok(manifest)
        } else {
            Err(self.connection.invalid_response("its media type is not that of an image or index"))
        }
    }

    /// Returns a blob or manifest after verifying its digest.
    pub(super) async fn verified_content(
        &mut self,
        kind: &str,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let call = document_request(kind, &digest.to_string());
        let Some(answer) = self.get_if_exists(&call).await? else { return Ok(None) };
        if Digest::of(&answer.body) != *digest {
            return Err(self.connection.invalid_response("the content does not have the requested digest"));
        }
        Ok(Some(answer.body))
    }

    /// Returns a successful response, or `None` for 404.
    pub(super) async fn get_if_exists(
        &mut self,
        call: &RegistryRequest,
    ) -> Result<Option<RegistryResponse>, RegistryError> {
        let answer = self.connection.call(call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            _ => Err(self.connection.status_error(&answer)),
        }
    }
}

/// Returns the request for a manifest or blob that is small enough to be read as a whole.
fn document_request(kind: &str, reference: &str) -> RegistryRequest {
    let accepted = HeaderValue::try_from(MEDIA_TYPES.join(", ")).expect("media types are ASCII");
    RegistryRequest::new(Method::GET, format!("{kind}/{reference}")).header(ACCEPT, accepted)
}

/// Returns the index entries that may be the image of the platform, best first, followed by some without a platform.
fn candidates(entries: &[Descriptor], platform: &str) -> Vec<Descriptor> {
    let images = || entries.iter().filter(|entry| !entry.is_attestation());
    let rank = |entry: &Descriptor| compatibility_rank(&entry.platform.as_ref()?.text(), platform);
    let mut ranked: Vec<_> = images().filter_map(|entry| Some((rank(entry)?, entry))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let unspecified = images().filter(|entry| entry.platform.is_none()).take(MAX_INSPECTED);
    ranked.into_iter().map(|(_, entry)| entry).chain(unspecified).cloned().collect()
}

#[cfg(test)]
mod tests;
