//! Docker's credential helpers: programs that store credentials (docker/docker-credential-helpers).

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::Credentials;
use super::docker_config::DockerConfigFile;
use super::error::MAX_MESSAGE_LENGTH;
use crate::error_chain::one_line;

/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";
/// What every helper prints if it has no credentials for a registry.
const NOT_FOUND: &str = "credentials not found";

#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    #[error("docker-credential-{0} is not in PATH")]
    NotInPath(String),
    #[error("docker-credential-{0} cannot be run")]
    CannotRun(String, #[source] io::Error),
    #[error("docker-credential-{0} did not answer in {1:?}")]
    TimedOut(String, Duration),
    #[error("docker-credential-{0} failed: {1}")]
    Failed(String, String),
    #[error("docker-credential-{0} returned malformed credentials")]
    Malformed(String),
}

/// Returns the credentials that `docker-credential-HELPER` stores for `registry`, or `None` if it has none.
pub(super) async fn get_credentials(
    helper: &str,
    registry: &str,
    patience: Duration,
) -> Result<Option<Credentials>, HelperError> {
    let name = || helper.to_owned();
    let asking = async {
        let mut process = Command::new(format!("docker-credential-{helper}"))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = process.stdin.take() {
            // A helper that does not read its input may still answer.
            drop(input.write_all(registry.as_bytes()).await);
        }
        process.wait_with_output().await
    };
    let output = match timeout(patience, asking).await {
        Err(_) => return Err(HelperError::TimedOut(name(), patience)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HelperError::NotInPath(name()));
        }
        Ok(Err(error)) => return Err(HelperError::CannotRun(name(), error)),
        Ok(Ok(output)) => output,
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) {
            return Ok(None);
        }
        let message = if stderr.trim().is_empty() { stdout } else { stderr };
        let message = if message.trim().is_empty() { output.status.to_string() } else { one_line(&message) };
        return Err(HelperError::Failed(name(), message.chars().take(MAX_MESSAGE_LENGTH).collect()));
    }
    let answer = DockerConfigFile::parse(&output.stdout).map_err(|_| HelperError::Malformed(name()))?;
    let (username, secret) = (answer.text("Username"), answer.text("Secret"));
    match (username.as_str(), secret.is_empty()) {
        (_, true) => Ok(None),
        (TOKEN_USER, false) => Ok(Some(Credentials { username: String::new(), secret })),
        ("", false) => Err(HelperError::Malformed(name())),
        (_, false) => Ok(Some(Credentials { username, secret })),
    }
}
