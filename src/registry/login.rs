//! Logins as Docker keeps them: `config.json`, credential stores and helpers.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use tokio::task::{JoinError, spawn_blocking};

use super::ecr::{EcrError, EcrHost, EcrLogin, has_ended};

/// The key under which Docker files the login for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker Hub's registry by the name that engines connect to.
const HUB_REGISTRY: &str = "registry-1.docker.io";

/// Where logins are looked up.
#[derive(Debug, Clone)]
pub struct Login {
    config: PathBuf,
    /// Those of Amazon's registries, where Docker keeps none.
    ecr: Option<EcrLogin>,
}

/// A login for a registry. Both strings are empty for an anonymous one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name; empty with an identity token.
    pub username: String,
    /// Password or identity token.
    pub secret: String,
}

/// The login for a registry could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Docker's configuration file is there, but cannot be read.
    #[error("cannot read {}", .0.display())]
    Config(PathBuf, #[source] io::Error),
    /// Its content, or what a credential helper answered, is unusable.
    #[error("no usable login for {host} from {}: {reason}", .config.display())]
    Unusable {
        /// The registry.
        host: String,
        /// Docker's configuration file.
        config: PathBuf,
        /// Why, without secrets.
        reason: String,
    },
    /// AWS hands out none.
    #[error(transparent)]
    Ecr(#[from] EcrError),
    /// A thread of larder's own failed.
    #[error("a thread of larder's own failed")]
    Thread(#[from] JoinError),
}

impl LoginError {
    /// What would help, in a line.
    pub fn remedy(&self) -> String {
        match self {
            Self::Ecr(error) => error.remedy(),
            _ => "repair Docker's config.json or its credential helper, or log in anew".to_owned(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Nobody in particular.
    pub fn is_anonymous(&self) -> bool {
        self.secret.is_empty()
    }
}

impl Login {
    /// Looks logins up in the `config.json` of `docker_config` (usually `~/.docker`).
    pub fn new(docker_config: &Path) -> Self {
        Self { config: docker_config.join("config.json"), ecr: None }
    }

    /// The same, which also knows Amazon's registries.
    #[must_use]
    pub fn with_ecr(self, ecr: EcrLogin) -> Self {
        Self { ecr: Some(ecr), ..self }
    }

    /// The login for `host` (`host[:port]`): what Docker keeps, or for a registry of Amazon's a token; an anonymous one
    /// when there is none.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is damaged, a helper fails, or AWS refuses a token.
    pub async fn credentials(&self, host: &str) -> Result<Credentials, LoginError> {
        let (login, of) = (self.clone(), host.to_owned());
        // A credential helper may take its time.
        let kept = spawn_blocking(move || login.kept(&of)).await??;
        let is_usable = !kept.is_anonymous() && !has_ended(&kept.secret);
        let Some(ecr) = self.ecr.as_ref().filter(|_| !is_usable) else { return Ok(kept) };
        match Box::pin(ecr.credentials(host)).await {
            Ok(found) => Ok(found.map_or(kept, |(credentials, _)| credentials)),
            // Anybody may pull from the public one.
            Err(_) if ecr.host(host) == Some(EcrHost::Public) => Ok(kept),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a registry is Amazon's.
    pub fn is_amazons(&self, host: &str) -> bool {
        self.ecr.as_ref().and_then(|ecr| ecr.host(host)).is_some()
    }

    /// Forgets a token of Amazon's for `host`; what Docker keeps is left alone.
    pub fn forget(&self, host: &str) {
        if let Some(ecr) = &self.ecr {
            ecr.forget(host);
        }
    }

    /// The login that Docker keeps. Runs a credential helper where one is configured, so this may block.
    fn kept(&self, host: &str) -> Result<Credentials, LoginError> {
        let file = match File::open(&self.config) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::default()),
            Err(error) => return Err(LoginError::Config(self.config.clone(), error)),
        };
        let key = if host == HUB_REGISTRY || host == "docker.io" { HUB_KEY } else { host };
        match docker_credential::get_credential_from_reader(file, key) {
            Ok(DockerCredential::IdentityToken(secret)) => {
                Ok(Credentials { username: String::new(), secret })
            }
            Ok(DockerCredential::UsernamePassword(username, secret)) => Ok(Credentials { username, secret }),
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::default()),
            // What every helper prints when it keeps nothing for a host (docker-credential-helpers).
            Err(CredentialRetrievalError::HelperFailure { stdout, .. })
                if stdout.contains("credentials not found") =>
            {
                Ok(Credentials::default())
            }
            Err(error) => {
                let reason = match error {
                    CredentialRetrievalError::HelperFailure { helper, stdout, stderr } => {
                        let said = if stderr.trim().is_empty() { stdout } else { stderr };
                        format!("docker-credential-{helper} said: {}", said.trim().replace('\n', " "))
                    }
                    other => other.to_string(),
                };
                Err(LoginError::Unusable { host: host.to_owned(), config: self.config.clone(), reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(config: &str, host: &str) -> Result<Credentials, LoginError> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), config).unwrap();
        Login::new(directory.path()).kept(host)
    }

    #[test]
    fn a_login_is_found_by_host_and_docker_hub_by_its_old_key() {
        // base64 of "ci:s3cret"
        let config = r#"{"auths":{"reg.example:5000":{"auth":"Y2k6czNjcmV0"},
            "https://index.docker.io/v1/":{"identitytoken":"token"}}}"#;
        let found = lookup(config, "reg.example:5000").unwrap();
        assert_eq!((found.username.as_str(), found.secret.as_str()), ("ci", "s3cret"));
        assert_eq!(lookup(config, "registry-1.docker.io").unwrap().secret, "token");
        assert!(lookup(config, "other.example").unwrap().is_anonymous());
        assert!(!format!("{found:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn the_public_registry_of_aws_is_anybodys() {
        let directory = tempfile::tempdir().unwrap();
        // Nobody hands out tokens there.
        let ecr = EcrLogin::new(directory.path(), "", Some("http://127.0.0.1:9"));
        let login = Login::new(directory.path()).with_ecr(ecr);
        assert!(login.credentials("registry.example").await.unwrap().is_anonymous());
        assert!(login.credentials("registry.example").await.unwrap().is_anonymous());
    }

    #[test]
    fn no_config_file_means_anonymous() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Login::new(directory.path()).kept("reg.example").unwrap().is_anonymous());
    }

    #[test]
    fn a_damaged_config_or_a_missing_helper_is_an_error_that_names_the_file() {
        for config in ["{", r#"{"credHelpers":{"reg.example":"larder-test-absent"}}"#] {
            let error = lookup(config, "reg.example").unwrap_err().to_string();
            assert!(error.contains("config.json"), "{error}");
        }
    }
}
