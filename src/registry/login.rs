//! Logins as Docker keeps them: `config.json`, credential stores and helpers.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};

/// The key under which Docker files the login for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker Hub's registry by the name that engines connect to.
const HUB_REGISTRY: &str = "registry-1.docker.io";

/// Where logins are looked up.
#[derive(Debug, Clone)]
pub struct Login {
    config: PathBuf,
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
        Self { config: docker_config.join("config.json") }
    }

    /// The login for `host` (`host[:port]`); an anonymous one when none is kept.
    ///
    /// Runs a credential helper where one is configured, so this may block.
    ///
    /// # Errors
    ///
    /// Fails when the configuration is damaged or a helper fails.
    pub fn credentials(&self, host: &str) -> Result<Credentials, LoginError> {
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
        Login::new(directory.path()).credentials(host)
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

    #[test]
    fn no_config_file_means_anonymous() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Login::new(directory.path()).credentials("reg.example").unwrap().is_anonymous());
    }

    #[test]
    fn a_damaged_config_or_a_missing_helper_is_an_error_that_names_the_file() {
        for config in ["{", r#"{"credHelpers":{"reg.example":"larder-test-absent"}}"#] {
            let error = lookup(config, "reg.example").unwrap_err().to_string();
            assert!(error.contains("config.json"), "{error}");
        }
    }
}
