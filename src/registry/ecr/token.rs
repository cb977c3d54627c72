//! ECR tokens as credentials, cached until they expire.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{EcrClient, EcrError, EcrHost};
use crate::digest::Digest;
use crate::registry::Credentials;
use crate::registry::connection::authority_of;
use crate::regular_file::{self, PRIVATE};

const SCHEMA: &str = "larder.ecr-token.v1";
/// The minimum remaining lifetime of a token that is used. A build followed by a push may take this long.
const MIN_LIFETIME: SignedDuration = SignedDuration::from_hours(2);

#[derive(Debug, Clone)]
pub(crate) struct EcrLogin {
    directory: PathBuf,
    identity: Digest,
    endpoint: Option<String>,
    /// The registries for which the server issues no tokens. The lock allows one request at a time, because AWS limits
    /// the rate, and the next caller finds the token in the cache.
    registries_without_tokens: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EcrToken {
    schema: String,
    host: String,
    pub(super) username: String,
    pub(super) secret: String,
    pub(super) expires: Timestamp,
}

impl EcrToken {
    /// Decodes AWS's token: the base64 of `USER:PASSWORD`.
    pub(super) fn decode(host: &str, token: &str, expires: Timestamp) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let (username, secret) = text.split_once(':')?;
        Some(Self {
            schema: SCHEMA.to_owned(),
            host: host.to_owned(),
            username: username.to_owned(),
            secret: secret.to_owned(),
            expires,
        })
    }

    fn is_usable(&self, host: &str) -> bool {
        self.schema == SCHEMA && self.host == host && Timestamp::now() + MIN_LIFETIME < self.expires
    }
}

impl EcrLogin {
    /// Creates a source of credentials that are cached in `directory`. `identity` is any text that distinguishes AWS
    /// identities; it may be secret. `endpoint` is the address of a server that replaces AWS, if any.
    pub(crate) fn new(directory: &Path, identity: &str, endpoint: Option<&str>) -> Self {
        Self {
            directory: directory.to_owned(),
            identity: Digest::of(identity.as_bytes()),
            endpoint: endpoint.map(str::to_owned),
            registries_without_tokens: Arc::default(),
        }
    }

    /// Returns the kind of the registry `host`, or `None` if it is not an ECR registry and no server replaces AWS.
    pub(crate) fn host_kind(&self, host: &str) -> Option<EcrHost> {
        EcrHost::parse(host).or_else(|| self.endpoint.is_some().then_some(EcrHost::CustomEndpoint))
    }

    /// Returns the credentials for `host` with their expiry, or `None` if it is not an ECR registry.
    pub(crate) async fn credentials(&self, host: &str) -> Result<Option<(Credentials, Timestamp)>, EcrError> {
        let Some(kind) = self.host_kind(host) else { return Ok(None) };
        if let Some(endpoint) = self.endpoint.as_deref().filter(|address| !address.starts_with("http")) {
            return Err(EcrError::InvalidEndpoint(endpoint.to_owned()));
        }
        let mut asking = self.registries_without_tokens.lock().await;
        if asking.contains(host) {
            return Ok(None);
        }
        let path = self.path(host);
        let token = if let Some(token) = read_cached_token(&path).filter(|token| token.is_usable(host)) {
            token
        } else {
            let token = match EcrClient::new(&kind, host).await.token(host, self.endpoint.as_deref()).await {
                // If a server replaces AWS, most registries are unrelated to it, and it may not issue tokens at all.
                Err(_) if kind == EcrHost::CustomEndpoint && !self.is_endpoint(host) => {
                    asking.insert(host.to_owned());
                    return Ok(None);
                }
                token => token?,
            };
            // A token that cannot be cached is requested again the next time.
            drop(write_cached_token(&path, &token));
            token
        };
        let EcrToken { username, secret, expires, .. } = token;
        Ok(Some((Credentials { username, secret }, expires)))
    }

    /// Returns a client for the registry `host`, or `None` if it is not an ECR registry. May request a token to
    /// determine whether it is.
    pub(crate) async fn client(&self, host: &str) -> Result<Option<EcrClient>, EcrError> {
        let Some(kind) = self.host_kind(host) else { return Ok(None) };
        // A server that issues no token for a registry does not manage it.
        let is_known = kind != EcrHost::CustomEndpoint || self.is_endpoint(host);
        if !is_known && self.credentials(host).await?.is_none() {
            return Ok(None);
        }
        Ok(Some(EcrClient::new(&kind, host).await))
    }

    fn is_endpoint(&self, host: &str) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| authority_of(endpoint) == host)
    }

    /// Removes the cached token for `host` after the registry rejected it.
    pub(crate) fn forget(&self, host: &str) {
        // The token may not exist.
        drop(fs::remove_file(self.path(host)));
    }

    fn path(&self, host: &str) -> PathBuf {
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        let name = Digest::of(format!("{host}\n{}\n{endpoint}", self.identity).as_bytes()).hex();
        self.directory.join(format!("ecr-{}.json", &name[..32]))
    }
}

/// Returns `true` if a password stored by Docker is an expired ECR token. Such a token is base64-encoded JSON that
/// contains its expiry.
pub(in crate::registry) fn is_expired_token(password: &str) -> bool {
    #[derive(Deserialize)]
    struct Password {
        expiration: i64,
    }
    let token =
        STANDARD.decode(password).ok().and_then(|json| serde_json::from_slice::<Password>(&json).ok());
    token.is_some_and(|token| token.expiration <= Timestamp::now().as_second())
}

fn read_cached_token(path: &Path) -> Option<EcrToken> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes the token atomically, readable by its owner only.
fn write_cached_token(path: &Path, token: &EcrToken) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    regular_file::write(path, &serde_json::to_vec(token)?, PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_cached_for_its_owner_until_shortly_before_it_expires() {
        let directory = tempfile::tempdir().unwrap();
        let login = EcrLogin::new(&directory.path().join("kept"), "profile", None);
        let path = login.path("reg.example");
        let now = Timestamp::now();
        for (hours, is_usable) in [(12, true), (3, true), (1, false), (-1, false)] {
            let expires = now + SignedDuration::from_hours(hours);
            let token = EcrToken::decode("reg.example", &STANDARD.encode("AWS:s3cret"), expires).unwrap();
            write_cached_token(&path, &token).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let found = read_cached_token(&path).unwrap();
            assert_eq!((found.username.as_str(), found.secret.as_str()), ("AWS", "s3cret"));
            assert_eq!(found.is_usable("reg.example"), is_usable, "{hours}");
            assert!(!found.is_usable("other.example"));
        }
        let other = EcrLogin::new(&directory.path().join("kept"), "another profile", None);
        assert_ne!(other.path("reg.example"), path);
        login.forget("reg.example");
        assert!(read_cached_token(&path).is_none());
    }

    #[test]
    fn an_expired_password_is_not_used() {
        let password =
            |expiration: i64| STANDARD.encode(format!("{{\"payload\":\"x\",\"expiration\":{expiration}}}"));
        let now = Timestamp::now().as_second();
        assert!(is_expired_token(&password(now - 1)));
        assert!(!is_expired_token(&password(now + 60)));
        assert!(!is_expired_token("s3cret"));
    }
}
