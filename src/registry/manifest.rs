//! What a registry has of an image: its manifest for one platform, and its config; and what its tags stand for.
//!
//! Plain HTTP is spoken to insecure registries alone, and only after HTTPS
//! failed, as Docker does. Whatever is fetched by digest is checked against
//! it, and nothing larger than a manifest or a config is read. Errors name the
//! registry and the repository, never a login or a token.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::config::creation_time;
use super::connection::{Answer, Call, Connection};
use super::platform::serves;
use super::{Credentials, Identity, ImageConfig, ImageRef, Reach, RegistryError};
use crate::digest::Digest;

/// Docker Hub, as names have it.
const HUB: &str = "docker.io";
/// How deep an index may stand in an index.
const DEPTH: usize = 3;
/// How many manifests that do not say their platform are looked into.
const LOOKED_INTO: usize = 4;

const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// All of them.
const ANY: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
);
/// Marks what is in an index and is no image.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// An image as its registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteImage {
    /// The digest of what the name stands for: an index, or the manifest itself.
    pub(crate) target: Digest,
    /// The digest of the platform's manifest.
    pub(crate) manifest: Digest,
    /// The digest of its config, by which engines with a graph driver know the image.
    pub(crate) id: Digest,
    /// Its config.
    pub(crate) config: ImageConfig,
    /// When it was built, as far as it says.
    pub(crate) created: Option<Timestamp>,
    /// Its name stands for no other image.
    pub(crate) is_alone: bool,
}

/// A manifest or index, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    /// Its digest.
    pub(crate) digest: Digest,
    /// What the registry says that it is.
    told: Option<String>,
    bytes: Bytes,
}

/// Whether a media type is that of an index.
pub(super) fn is_index(media_type: &str) -> bool {
    INDEX.contains(&media_type)
}

impl StoredManifest {
    /// Its media type: what it says, what the registry says, or what it looks like.
    fn media_type(&self, parsed: &Manifest) -> String {
        let told = self.told.clone().filter(|told| INDEX.iter().chain(&MANIFEST).any(|known| known == told));
        let looks = if parsed.config.is_some() { MANIFEST[0] } else { INDEX[0] };
        let says = Some(parsed.media_type.clone()).filter(|says| !says.is_empty());
        says.or(told).unwrap_or_else(|| looks.to_owned())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

/// What a manifest or index says of a part.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) digest: Digest,
    /// Bytes.
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    #[serde(default, rename = "os.version")]
    os_version: String,
}

impl Platform {
    fn text(&self) -> String {
        let Self { os, architecture, variant, os_version } = self;
        format!("{os}({os_version})/{architecture}/{variant}").trim_end_matches('/').replace("()", "")
    }
}

/// Asks the registry of `name` for its image of `platform` (`OS/ARCHITECTURE[/VARIANT]`); for Docker Hub its mirrors first.
///
/// `None` when it has no such name, or no image for the platform under it.
///
/// # Errors
///
/// Fails when the registry cannot be asked, refuses, or sends what makes no sense.
pub(crate) async fn remote_image(
    name: &ImageRef,
    platform: &str,
    identity: impl Into<Identity>,
    reach: &Reach,
) -> Result<Option<RemoteImage>, RegistryError> {
    let mirrors = if name.host() == HUB { reach.mirrors.as_slice() } else { &[] };
    for mirror in mirrors {
        // The hub itself has the last word, whatever a mirror says.
        if let Some(mut mirror) = Repository::of_mirror(mirror, name, reach)
            && let Ok(Some(found)) = mirror.tagged(name, platform).await
        {
            return Ok(Some(found));
        }
    }
    Repository::new(name, identity, reach)?.tagged(name, platform).await
}

/// A repository of a registry.
#[derive(Clone)]
pub struct Repository {
    pub(super) connection: Connection,
}

impl Repository {
    /// The repository of `name`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Fails when certificates of this machine for the registry are unusable.
    pub(crate) fn new(
        name: &ImageRef,
        identity: impl Into<Identity>,
        reach: &Reach,
    ) -> Result<Self, RegistryError> {
        Ok(Self { connection: Connection::new(name, identity.into(), reach)? })
    }

    /// The repository of Docker Hub's `name` in a mirror, if that has a usable address.
    fn of_mirror(mirror: &str, name: &ImageRef, reach: &Reach) -> Option<Self> {
        let (scheme, host) = mirror.trim_end_matches('/').split_once("://")?;
        let scheme = ["https", "http"].into_iter().find(|known| *known == scheme)?;
        let name = name.in_registry(host)?;
        let anonymous = Identity::Known(Credentials::default());
        let connection = Connection::speaking(&name, vec![scheme], anonymous, reach).ok()?;
        Some(Self { connection })
    }

    /// `HOST/PATH`.
    pub(crate) fn name(&self) -> String {
        self.connection.name.repository()
    }

    /// The name that it was made of.
    pub(crate) fn image_name(&self) -> &ImageRef {
        &self.connection.name
    }

    async fn tagged(
        &mut self,
        name: &ImageRef,
        platform: &str,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        let reference = name.digest().or_else(|| name.tag()).unwrap_or("latest");
        let Some(stored) = self.manifest(reference).await? else { return Ok(None) };
        self.image(&stored, platform).await
    }

    /// What stands under a tag or digest; `None` where nothing does.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be asked, refuses, or sends what makes no sense.
    pub(crate) async fn manifest(
        &mut self,
        reference: &str,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        let call = Call::new(Method::GET, format!("manifests/{reference}")).header(ACCEPT, ANY);
        let Some(Answer { headers, body, .. }) = self.found(&call).await? else { return Ok(None) };
        let digest = Digest::of(&body);
        if reference.contains(':') && reference != digest.to_string() {
            return Err(self.connection.unusable("a manifest has another digest than its name"));
        }
        let told = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let told = told.and_then(|value| value.split(';').next()).map(|value| value.trim().to_owned());
        Ok(Some(StoredManifest { digest, told, bytes: body.into() }))
    }

    /// Lets `tag` stand for a manifest that the repository has all parts of. Where it does so already, a registry whose
    /// tags are immutable is satisfied, too.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be asked or refuses.
    pub(crate) async fn put(&mut self, tag: &str, manifest: &StoredManifest) -> Result<(), RegistryError> {
        let parsed = self.parsed(&manifest.bytes)?;
        let media_type = manifest.media_type(&parsed);
        let media_type =
            HeaderValue::try_from(media_type).map_err(|_| self.connection.unusable("it is no image"))?;
        let call = Call::new(Method::PUT, format!("manifests/{tag}")).header(CONTENT_TYPE, media_type);
        let answer = self.connection.call(&call.body(manifest.bytes.clone())).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let refused = self.connection.refused(&answer);
        match self.manifest(tag).await {
            Ok(Some(found)) if found.digest == manifest.digest => Ok(()),
            _ => Err(refused),
        }
    }

    /// What an index names; nothing for a manifest.
    ///
    /// # Errors
    ///
    /// Fails when it makes no sense.
    pub(crate) fn entries(&self, manifest: &StoredManifest) -> Result<Vec<Digest>, RegistryError> {
        Ok(self.parts(manifest)?.0.into_iter().map(|entry| entry.digest).collect())
    }

    /// What a manifest or index is made of: the entries of an index, or config and layers.
    pub(super) fn parts(
        &self,
        manifest: &StoredManifest,
    ) -> Result<(Vec<Descriptor>, Vec<Descriptor>), RegistryError> {
        let Manifest { config, layers, manifests, .. } = self.parsed(&manifest.bytes)?;
        Ok((manifests, config.into_iter().chain(layers).collect()))
    }

    /// The image of `platform` that a manifest or index of this repository stands for.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be asked, refuses, or sends what makes no sense.
    pub(crate) async fn image(
        &mut self,
        stored: &StoredManifest,
        platform: &str,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        let manifest = self.parsed(&stored.bytes)?;
        self.image_in(stored.digest, stored.digest, manifest, platform, DEPTH).await
    }

    async fn image_in(
        &mut self,
        target: Digest,
        digest: Digest,
        manifest: Manifest,
        platform: &str,
        depth: usize,
    ) -> Result<Option<RemoteImage>, RegistryError> {
        if let Some(config) = manifest.config {
            let bytes = self.checked("blobs", &config.digest).await?;
            let bytes =
                bytes.ok_or_else(|| self.connection.unusable("the config of a manifest is not there"))?;
            let parsed = ImageConfig::parse(&bytes);
            let parsed = parsed.map_err(|_| self.connection.unusable("a config is no config"))?;
            let created = creation_time(&bytes);
            return Ok(Some(RemoteImage {
                target,
                manifest: digest,
                id: config.digest,
                config: parsed,
                created,
                is_alone: true,
            }));
        }
        let (Some(depth), false) = (depth.checked_sub(1), manifest.manifests.is_empty()) else {
            return Err(self.connection.unusable("it is neither the manifest of an image nor an index"));
        };
        let images = manifest.manifests.iter().filter(|entry| !entry.annotations.contains_key(ATTESTATION));
        let is_alone = images.count() == 1;
        for entry in candidates(&manifest.manifests, platform) {
            let Some(manifest) = self.checked("manifests", &entry.digest).await? else { continue };
            let manifest = self.parsed(&manifest)?;
            let found = Box::pin(self.image_in(target, entry.digest, manifest, platform, depth)).await?;
            let fits = |image: &RemoteImage| serves(&image.config.platform(), platform).is_some();
            if let Some(found) = found.filter(|image| entry.platform.is_some() || fits(image)) {
                return Ok(Some(RemoteImage { is_alone: found.is_alone && is_alone, ..found }));
            }
        }
        Ok(None)
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Manifest, RegistryError> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|_| self.connection.unusable("a manifest is no manifest"))?;
        let known = INDEX.iter().chain(&MANIFEST).any(|known| *known == manifest.media_type);
        // OCI manifests need not say what they are; Docker's first format has neither config nor entries.
        if known || manifest.media_type.is_empty() {
            Ok(manifest)
        } else {
            Err(self.connection.unusable("it is no image"))
        }
    }

    /// A blob or manifest by its digest.
    async fn checked(&mut self, kind: &str, digest: &Digest) -> Result<Option<Vec<u8>>, RegistryError> {
        let call = Call::new(Method::GET, format!("{kind}/{digest}")).header(ACCEPT, ANY);
        let Some(answer) = self.found(&call).await? else { return Ok(None) };
        if Digest::of(&answer.body) != *digest {
            return Err(self.connection.unusable("what it sent has another digest than asked for"));
        }
        Ok(Some(answer.body))
    }

    /// The answer to a call; `None` for what is not there.
    async fn found(&mut self, call: &Call) -> Result<Option<Answer>, RegistryError> {
        let answer = self.connection.call(call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            _ => Err(self.connection.refused(&answer)),
        }
    }
}

/// The entries of an index that can be the platform's image, the best first; then some that do not say.
fn candidates(entries: &[Descriptor], platform: &str) -> Vec<Descriptor> {
    let images = || entries.iter().filter(|entry| !entry.annotations.contains_key(ATTESTATION));
    let ranked = images().filter_map(|entry| {
        let rank = serves(&entry.platform.as_ref()?.text(), platform)?;
        Some((rank, entry))
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let silent = images().filter(|entry| entry.platform.is_none()).take(LOOKED_INTO);
    ranked.into_iter().map(|(_, entry)| entry).chain(silent).cloned().collect()
}

#[cfg(test)]
mod tests;
