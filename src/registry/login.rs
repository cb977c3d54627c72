//! Credentials as Docker stores them: `DOCKER_AUTH_CONFIG`, `config.json` and credential helpers.
//!
//! If credentials cannot be looked up, larder continues without them: the registry decides whether it needs them. The
//! reason is recorded and reported once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::credential_helper;
use super::docker_config::DockerConfigFile;
use super::ecr::{EcrError, EcrHost, EcrLogin, is_expired_token};

/// The key under which Docker stores the credentials for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The names of Docker Hub; the second is the one that engines connect to.
const HUB_HOSTS: [&str; 3] = ["docker.io", "registry-1.docker.io", "index.docker.io"];
/// Timeout of a credential helper. Some call a server.
const HELPER_TIMEOUT: Duration = Duration::from_secs(15);
/// Docker requires padding, but other programs omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Looks up credentials once per registry; clones share the results.
#[derive(Clone)]
pub(crate) struct Login {
    config: PathBuf,
    /// `DOCKER_AUTH_CONFIG`, which takes precedence over the file.
    from_environment: DockerConfigFile,
    /// Credentials for ECR, used if Docker stores none.
    ecr: Option<EcrLogin>,
    /// The lookups that were started, by the key of the registry.
    lookups: Arc<Mutex<BTreeMap<String, Shared<BoxFuture<'static, Credentials>>>>>,
    lookup_errors: Arc<Mutex<Vec<String>>>,
}

/// Credentials for a registry. Both strings are empty for anonymous access.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Empty for an identity token.
    pub(crate) username: String,
    /// The password or identity token.
    pub(crate) secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn is_anonymous(&self) -> bool {
        self.secret.is_empty()
    }
}

impl Login {
    /// Creates a lookup in the `config.json` of `docker_config` (usually `~/.docker`).
    pub(crate) fn new(docker_config: &Path) -> Self {
        Self {
            config: docker_config.join("config.json"),
            from_environment: DockerConfigFile::default(),
            ecr: None,
            lookups: Arc::default(),
            lookup_errors: Arc::default(),
        }
    }

    #[must_use]
    pub(crate) fn with_environment(self, given: DockerConfigFile) -> Self {
        Self { from_environment: given, ..self }
    }

    #[must_use]
    pub(crate) fn with_ecr(self, ecr: EcrLogin) -> Self {
        Self { ecr: Some(ecr), ..self }
    }

    /// Returns the credentials for `host` (`host[:port]`): those that Docker stores, or a token for ECR; anonymous ones
    /// if there are none or if they cannot be looked up.
    ///
    /// # Errors
    ///
    /// Fails if AWS refuses a token.
    pub(crate) async fn credentials(&self, host: &str) -> Result<Credentials, EcrError> {
        let stored = self.stored_credentials(host).await;
        let is_usable = !stored.is_anonymous() && !is_expired_token(&stored.secret);
        let Some(ecr) = self.ecr.as_ref().filter(|_| !is_usable) else { return Ok(stored) };
        match Box::pin(ecr.credentials(host)).await {
            Ok(found) => Ok(found.map_or(stored, |(credentials, _)| credentials)),
            // Pulling from the public registry needs no credentials.
            Err(_) if ecr.host_kind(host) == Some(EcrHost::Public) => Ok(stored),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_ecr(&self, host: &str) -> bool {
        self.ecr.as_ref().and_then(|ecr| ecr.host_kind(host)).is_some()
    }

    /// Discards the cached credentials for `host` after the registry rejected them. Docker's own storage is not
    /// changed.
    pub(crate) fn forget(&self, host: &str) {
        self.lookups.lock().expect("no panic").remove(key_of(host));
        if let Some(ecr) = &self.ecr {
            ecr.forget(host);
        }
    }

    /// Returns the reasons why lookups failed, and clears them.
    pub(crate) fn take_lookup_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.lookup_errors.lock().expect("no panic"))
    }

    /// Returns the credentials that Docker stores. If the first caller is cancelled before a helper has answered, later
    /// callers still get the result.
    async fn stored_credentials(&self, host: &str) -> Credentials {
        let host = key_of(host);
        let lookup = {
            let mut known = self.lookups.lock().expect("no panic");
            let look = || {
                let (login, host) = (self.clone(), host.to_owned());
                let task = tokio::spawn(async move { login.look_up(&host).await });
                task.map(Result::unwrap_or_default).boxed().shared()
            };
            known.entry(host.to_owned()).or_insert_with(look).clone()
        };
        lookup.await
    }

    async fn look_up(&self, key: &str) -> Credentials {
        if let Some(found) = self.find_entry(&self.from_environment, key, "DOCKER_AUTH_CONFIG") {
            return found;
        }
        // An unreadable file is reported where the rest of it is read.
        let Ok(config) = DockerConfigFile::read(&self.config) else { return Credentials::default() };
        // A helper for the registry takes precedence over the general one; an empty name means the file.
        let helpers: BTreeMap<String, String> = config.field("credHelpers").unwrap_or_default();
        let helper = helpers.get(key).cloned().unwrap_or_else(|| config.text("credsStore"));
        if !helper.is_empty() {
            match credential_helper::get_credentials(&helper, key, HELPER_TIMEOUT).await {
                Ok(found) => return found.unwrap_or_default(),
                // Like `docker push`, continue with the contents of the file.
                Err(error) => self.record_error(host_of(key), &error),
            }
        }
        self.find_entry(&config, key, &self.config.display().to_string()).unwrap_or_default()
    }

    /// Returns the credentials for a registry in `auths`, by its key or by the host in the key.
    fn find_entry(&self, config: &DockerConfigFile, key: &str, place: &str) -> Option<Credentials> {
        let auths = config.objects("auths");
        let is_for_registry = |name: &str| {
            let host = host_of(name);
            host == key || (key == HUB_KEY && HUB_HOSTS.contains(&host))
        };
        let named = || auths.iter().find(|(name, _)| is_for_registry(name)).map(|(_, entry)| entry);
        let entry = auths.get(key).or_else(named)?;
        let (token, auth) = (entry.text("identitytoken"), entry.text("auth"));
        if !token.is_empty() {
            return Some(Credentials { username: String::new(), secret: token });
        }
        if auth.is_empty() {
            let (username, secret) = (entry.text("username"), entry.text("password"));
            let is_login = !username.is_empty() && !secret.is_empty();
            return Some(if is_login { Credentials { username, secret } } else { Credentials::default() });
        }
        let login = decode_auth(&auth);
        if login.is_none() {
            self.record_error(host_of(key), &InvalidAuthField(place.to_owned()));
        }
        Some(login.unwrap_or_default())
    }

    fn record_error(&self, host: &str, error: &(dyn std::error::Error + 'static)) {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let fault = format!("no login for {host}: {error}{source}; going on without it");
        self.lookup_errors.lock().expect("no panic").push(fault);
    }
}

fn key_of(host: &str) -> &str {
    if HUB_HOSTS.contains(&host) { HUB_KEY } else { host }
}

#[derive(Debug, thiserror::Error)]
#[error("its auth in {0} is not the base64 of USER:PASSWORD")]
struct InvalidAuthField(String);

/// Returns the host in a key of `auths`, without protocol and path (docker/cli, `ConvertToHostname`).
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

fn decode_auth(auth: &str) -> Option<Credentials> {
    let text: String = auth.chars().filter(|char| !char.is_whitespace()).collect();
    let login = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let (username, secret) = login.split_once(':').filter(|(username, _)| !username.is_empty())?;
    Some(Credentials { username: username.to_owned(), secret: secret.trim_matches('\0').to_owned() })
}

#[cfg(test)]
mod tests;
