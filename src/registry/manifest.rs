//! What a registry says of an image: its manifest for one platform, and its config.
//!
//! Plain HTTP is spoken to registries of this very machine alone, and only
//! after HTTPS failed, as Docker does. Whatever is fetched by digest is
//! checked against it, and nothing larger than a manifest or a config is read.
//! Errors name the registry and the repository, never a login or a token.

use std::net::IpAddr;

use reqwest::header::{ACCEPT, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::platform::serves;
use super::{Challenge, Credentials, ImageConfig, ImageRef, TokenError};
use crate::digest::Digest;

/// The largest manifest or config that is read, in bytes.
const LARGEST: usize = 8 << 20;
/// How deep an index may stand in an index.
const DEPTH: usize = 3;
/// How many manifests that do not say their platform are looked into.
const LOOKED_INTO: usize = 4;

const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// Marks what is in an index and is no image.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// An image as its registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// The digest of what the name stands for: an index, or the manifest itself.
    pub target: Digest,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: ImageConfig,
}

/// A registry did not tell what an image is.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It could not be asked.
    #[error("cannot ask the registry {host}")]
    Http {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It refused.
    #[error("the registry answered {status} for {repository}")]
    Refused {
        /// `HOST/PATH`.
        repository: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// It wants a token that cannot be had.
    #[error("no token for {repository}")]
    Token {
        /// `HOST/PATH`.
        repository: String,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// What it sent makes no sense.
    #[error("the registry's answer for {repository} is unusable: {reason}")]
    Unusable {
        /// `HOST/PATH`.
        repository: String,
        /// Why.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
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

/// Asks the registry of `name` for its image of `platform` (`OS/ARCHITECTURE[/VARIANT]`).
///
/// `None` when it has no such name, or no image for the platform under it.
///
/// # Errors
///
/// Fails when the registry cannot be asked, refuses, or sends what makes no sense.
pub async fn remote_image(
    name: &ImageRef,
    platform: &str,
    credentials: &Credentials,
) -> Result<Option<RemoteImage>, ManifestError> {
    let mut asked = Registry::new(name, credentials)?;
    let reference = name.digest().or_else(|| name.tag()).unwrap_or("latest");
    let Some((target, manifest)) = asked.manifest(reference).await? else { return Ok(None) };
    let found = asked.image(target, manifest, platform, DEPTH).await?;
    Ok(found.map(|(manifest, config)| RemoteImage { target, manifest, config }))
}

/// A repository as it is asked.
struct Registry<'a> {
    name: &'a ImageRef,
    credentials: &'a Credentials,
    client: Client,
    /// `http` or `https`, once it is known which is spoken.
    scheme: Option<&'static str>,
    /// What the registry asked for, answered.
    authorization: Option<HeaderValue>,
}

impl<'a> Registry<'a> {
    fn new(name: &'a ImageRef, credentials: &'a Credentials) -> Result<Self, ManifestError> {
        // The one TLS stack's provider; whoever installed it first in this process installed the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")));
        // No proxy stands between a machine and itself.
        let client = if is_loopback(name.host()) { client.no_proxy() } else { client };
        let client =
            client.build().map_err(|source| ManifestError::Http { host: name.host().to_owned(), source })?;
        let scheme = if is_loopback(name.host()) { None } else { Some("https") };
        Ok(Self { name, credentials, client, scheme, authorization: None })
    }

    /// The image of `platform` that a manifest or index stands for: its manifest's digest and its config.
    async fn image(
        &mut self,
        digest: Digest,
        manifest: Manifest,
        platform: &str,
        depth: usize,
    ) -> Result<Option<(Digest, ImageConfig)>, ManifestError> {
        if let Some(config) = manifest.config {
            let bytes = self.checked("blobs", &config.digest).await?;
            let bytes = bytes.ok_or_else(|| self.unusable("the config of a manifest is not there"))?;
            let config = ImageConfig::parse(&bytes).map_err(|_| self.unusable("a config is no config"))?;
            return Ok(Some((digest, config)));
        }
        let (Some(depth), false) = (depth.checked_sub(1), manifest.manifests.is_empty()) else {
            return Err(self.unusable("it is neither the manifest of an image nor an index"));
        };
        for entry in candidates(&manifest.manifests, platform) {
            let Some(manifest) = self.checked("manifests", &entry.digest).await? else { continue };
            let manifest = self.parsed(&manifest)?;
            let found = Box::pin(self.image(entry.digest, manifest, platform, depth)).await?;
            let fits = |config: &ImageConfig| serves(&config.platform(), platform).is_some();
            if let Some(found) = found.filter(|(_, config)| entry.platform.is_some() || fits(config)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The manifest under a tag or digest, and its digest.
    async fn manifest(&mut self, reference: &str) -> Result<Option<(Digest, Manifest)>, ManifestError> {
        let Some(bytes) = self.fetch(&format!("manifests/{reference}")).await? else { return Ok(None) };
        let digest = Digest::of(&bytes);
        if self.name.digest().is_some_and(|named| named != digest.to_string()) {
            return Err(self.unusable("a manifest has another digest than its name"));
        }
        Ok(Some((digest, self.parsed(&bytes)?)))
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|_| self.unusable("a manifest is no manifest"))?;
        let known = INDEX.iter().chain(&MANIFEST).any(|known| *known == manifest.media_type);
        // OCI manifests need not say what they are; Docker's first format has neither config nor entries.
        if known || manifest.media_type.is_empty() {
            Ok(manifest)
        } else {
            Err(self.unusable("it is no image"))
        }
    }

    /// A blob or manifest by its digest.
    async fn checked(&mut self, kind: &str, digest: &Digest) -> Result<Option<Vec<u8>>, ManifestError> {
        let found = self.fetch(&format!("{kind}/{digest}")).await?;
        if found.as_ref().is_some_and(|bytes| Digest::of(bytes) != *digest) {
            return Err(self.unusable("what it sent has another digest than asked for"));
        }
        Ok(found)
    }

    /// The body at a path below the repository; `None` when it is not there.
    async fn fetch(&mut self, path: &str) -> Result<Option<Vec<u8>>, ManifestError> {
        let mut response = self.send(path).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorize(&response).await? {
            response = self.send(path).await?;
        }
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => {
                return Err(ManifestError::Refused { repository: self.name.repository(), status });
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|source| self.http(source))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(self.unusable("it is larger than any manifest or config"));
            }
        }
        Ok(Some(bytes))
    }

    async fn send(&mut self, path: &str) -> Result<Response, ManifestError> {
        if let Some(scheme) = self.scheme {
            return self.request(scheme, path).send().await.map_err(|source| self.http(source));
        }
        let (scheme, answer) = match self.request("https", path).send().await {
            Ok(response) => ("https", Ok(response)),
            Err(_) => ("http", self.request("http", path).send().await),
        };
        let response = answer.map_err(|source| self.http(source))?;
        self.scheme = Some(scheme);
        Ok(response)
    }

    fn request(&self, scheme: &str, path: &str) -> RequestBuilder {
        let host = match self.name.host() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let accept = [INDEX, MANIFEST].concat().join(", ");
        let request = self.client.get(format!("{scheme}://{host}/v2/{}/{path}", self.name.path()));
        let request = request.header(ACCEPT, accept);
        match &self.authorization {
            Some(authorization) => request.header(reqwest::header::AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// Answers the registry's challenge; whether there is anything new to try.
    async fn authorize(&mut self, response: &Response) -> Result<bool, ManifestError> {
        if self.authorization.is_some() {
            return Ok(false);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let Some(challenge) = challenges.max() else { return Ok(false) };
        let token = |source| ManifestError::Token { repository: self.name.repository(), source };
        let answer = challenge.answer(self.name, self.credentials).await.map_err(token)?;
        self.authorization = answer;
        Ok(self.authorization.is_some())
    }

    fn http(&self, source: reqwest::Error) -> ManifestError {
        ManifestError::Http { host: self.name.host().to_owned(), source: source.without_url() }
    }

    fn unusable(&self, reason: &'static str) -> ManifestError {
        ManifestError::Unusable { repository: self.name.repository(), reason }
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

/// Whether a registry runs on this very machine, by its name.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
