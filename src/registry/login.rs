//! Logins as Docker keeps them: `DOCKER_AUTH_CONFIG`, `config.json`, and credential helpers.
//!
//! If a login cannot be looked up, larder goes on without one: the registry decides if it needs one. The reason is kept, to be
//! shown once.

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
use super::ecr::{EcrError, EcrHost, EcrLogin, has_ended};

/// The key under which Docker keeps the login for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker Hub by its other names; the second is the one that engines connect to.
const HUB_HOSTS: [&str; 3] = ["docker.io", "registry-1.docker.io", "index.docker.io"];
/// How long a credential helper may take. Some ask a server of their own.
const PATIENCE: Duration = Duration::from_secs(15);
/// Docker wants padding; what other programs write need not have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where logins are looked up. Each is looked up once; clones share what was found.
#[derive(Clone)]
pub struct Login {
    config: PathBuf,
    /// `DOCKER_AUTH_CONFIG`, whose logins come before those of the file.
    given: DockerConfigFile,
    /// Those of Amazon's registries, where Docker keeps none.
    ecr: Option<EcrLogin>,
    known: Arc<Mutex<BTreeMap<String, Shared<BoxFuture<'static, Credentials>>>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

/// A login for a registry. Both strings are empty for an anonymous one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name; empty with an identity token.
    pub(crate) username: String,
    /// Password or identity token.
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
    /// Nobody in particular.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.secret.is_empty()
    }
}

impl Login {
    /// Looks logins up in the `config.json` of `docker_config` (usually `~/.docker`).
    pub(crate) fn new(docker_config: &Path) -> Self {
        Self {
            config: docker_config.join("config.json"),
            given: DockerConfigFile::default(),
            ecr: None,
            known: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// The same, where these logins come before those of the file.
    #[must_use]
    pub(crate) fn with_given(self, given: DockerConfigFile) -> Self {
        Self { given, ..self }
    }

    /// The same, which also knows Amazon's registries.
    #[must_use]
    pub(crate) fn with_ecr(self, ecr: EcrLogin) -> Self {
        Self { ecr: Some(ecr), ..self }
    }

    /// Returns the login for `host` (`host[:port]`): what Docker keeps, or a token for ECR; an anonymous one if there is no
    /// login, or if it cannot be looked up.
    ///
    /// # Errors
    ///
    /// Fails when AWS refuses a token.
    ///
    /// # Panics
    ///
    /// Never: no other thread panics while it looks one up.
    pub(crate) async fn credentials(&self, host: &str) -> Result<Credentials, EcrError> {
        let kept = self.kept(host).await;
        let is_usable = !kept.is_anonymous() && !has_ended(&kept.secret);
        let Some(ecr) = self.ecr.as_ref().filter(|_| !is_usable) else { return Ok(kept) };
        match Box::pin(ecr.credentials(host)).await {
            Ok(found) => Ok(found.map_or(kept, |(credentials, _)| credentials)),
            // Anybody may pull from the public one.
            Err(_) if ecr.host(host) == Some(EcrHost::Public) => Ok(kept),
            Err(error) => Err(error),
        }
    }

    /// Whether a registry is Amazon's.
    pub(crate) fn is_amazons(&self, host: &str) -> bool {
        self.ecr.as_ref().and_then(|ecr| ecr.host(host)).is_some()
    }

    /// Forgets the login for `host`, which does not take it; what Docker keeps is left alone.
    ///
    /// # Panics
    ///
    /// Never: no other thread panics while it looks one up.
    pub(crate) fn forget(&self, host: &str) {
        self.known.lock().expect("no panic").remove(key_of(host));
        if let Some(ecr) = &self.ecr {
            ecr.forget(host);
        }
    }

    /// Takes the reasons for which logins could not be looked up.
    ///
    /// # Panics
    ///
    /// Never: no other thread panics while it adds one.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.faults.lock().expect("no panic"))
    }

    /// The login that Docker keeps. Whoever asks first may give up before a helper has answered; the others get the answer.
    async fn kept(&self, host: &str) -> Credentials {
        let host = key_of(host);
        let looking = {
            let mut known = self.known.lock().expect("no panic");
            let look = || {
                let (login, host) = (self.clone(), host.to_owned());
                let looking = tokio::spawn(async move { login.look_up(&host).await });
                looking.map(Result::unwrap_or_default).boxed().shared()
            };
            known.entry(host.to_owned()).or_insert_with(look).clone()
        };
        looking.await
    }

    async fn look_up(&self, key: &str) -> Credentials {
        if let Some(found) = self.entry(&self.given, key, "DOCKER_AUTH_CONFIG") {
            return found;
        }
        // A file that cannot be read at all is reported where the rest of it is read.
        let Ok(config) = DockerConfigFile::read(&self.config) else { return Credentials::default() };
        // One for the registry comes before the one for all; an empty one means the file.
        let helpers: BTreeMap<String, String> = config.field("credHelpers").unwrap_or_default();
        let helper = helpers.get(key).cloned().unwrap_or_else(|| config.text("credsStore"));
        if !helper.is_empty() {
            match credential_helper::ask(&helper, key, PATIENCE).await {
                Ok(found) => return found.unwrap_or_default(),
                // As `docker push`, which goes on with what the file has.
                Err(error) => self.note_fault(host_of(key), &error),
            }
        }
        self.entry(&config, key, &self.config.display().to_string()).unwrap_or_default()
    }

    /// The login for a registry in `auths`, by its key there or by the host in that.
    fn entry(&self, config: &DockerConfigFile, key: &str, place: &str) -> Option<Credentials> {
        let auths = config.objects("auths");
        let is_meant = |name: &str| {
            let host = host_of(name);
            host == key || (key == HUB_KEY && HUB_HOSTS.contains(&host))
        };
        let named = || auths.iter().find(|(name, _)| is_meant(name)).map(|(_, entry)| entry);
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
        let login = decoded(&auth);
        if login.is_none() {
            self.note_fault(host_of(key), &Undecodable(place.to_owned()));
        }
        Some(login.unwrap_or_default())
    }

    fn note_fault(&self, host: &str, error: &(dyn std::error::Error + 'static)) {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let fault = format!("no login for {host}: {error}{source}; going on without it");
        self.faults.lock().expect("no panic").push(fault);
    }
}

/// What Docker's configuration calls a registry.
fn key_of(host: &str) -> &str {
    if HUB_HOSTS.contains(&host) { HUB_KEY } else { host }
}

/// An `auth` that is no login.
#[derive(Debug, thiserror::Error)]
#[error("its auth in {0} is not the base64 of USER:PASSWORD")]
struct Undecodable(String);

/// The registry that a key of `auths` names: without protocol and path (docker/cli, `ConvertToHostname`).
fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

fn decoded(auth: &str) -> Option<Credentials> {
    let text: String = auth.chars().filter(|char| !char.is_whitespace()).collect();
    let login = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
    let (username, secret) = login.split_once(':').filter(|(username, _)| !username.is_empty())?;
    Some(Credentials { username: username.to_owned(), secret: secret.trim_matches('\0').to_owned() })
}

#[cfg(test)]
mod tests;
