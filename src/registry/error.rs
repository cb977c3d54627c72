//! Registry errors and their remedies.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::TokenError;
use super::ecr::EcrError;
use crate::error_chain::{chain, one_line};
use crate::http_retry::is_temporary;

/// Maximum length of the message of a registry or a credential helper, in characters.
pub(super) const MAX_MESSAGE_LENGTH: usize = 300;

/// A failed call to a registry. It never contains credentials or tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("cannot reach the registry {host}")]
    Http {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the registry {host} did not answer in {patience:?}")]
    TimedOut { host: String, patience: Duration },
    #[error("the registry answered {status} for {repository}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused {
        repository: String,
        status: StatusCode,
        /// Codes of the OCI distribution specification.
        codes: Vec<String>,
        message: String,
    },
    #[error("cannot obtain a token for {repository}")]
    Token {
        repository: String,
        #[source]
        source: TokenError,
    },
    #[error(transparent)]
    Login(#[from] EcrError),
    #[error("the registry's response for {repository} is unusable: {reason}")]
    InvalidResponse { repository: String, reason: &'static str },
    #[error("the certificate {path} cannot be used: {reason}")]
    InvalidCertificate { path: String, reason: String },
}

/// The body of an error response (OCI distribution specification, "Error Codes").
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    /// Used by ECR's API.
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns the codes in the body of an error response, and its messages on one line.
pub(super) fn codes_and_message(body: &[u8]) -> (Vec<String>, String) {
    let ErrorBody { errors, message } = serde_json::from_slice(body).unwrap_or_default();
    let codes = errors.iter().map(|error| error.code.clone()).collect();
    let messages: Vec<String> = errors
        .into_iter()
        .map(|ErrorEntry { code, message }| if message.is_empty() { code.to_lowercase() } else { message })
        .chain([message])
        .filter(|words| !words.is_empty())
        .collect();
    let line = one_line(&messages.join("; "));
    (codes, line.chars().filter(|char| !char.is_control()).take(MAX_MESSAGE_LENGTH).collect())
}

/// Returns `true` for the response to an expired token. ECR sends the code `DENIED` with it, as for missing permissions.
fn is_token_expired(message: &str) -> bool {
    message.contains("token has expired")
}

impl RegistryError {
    /// Returns one line that says how to fix the error.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::TimedOut { host, .. } => timeout_remedy(host),
            Self::Http { host, source } if source.is_timeout() => timeout_remedy(host),
            Self::Http { host, source } if chain(source).contains("certificate") => format!(
                "put the CA of {host} into /etc/docker/certs.d/{host}/ca.crt, for the engine and for larder"
            ),
            Self::Http { host, .. } => format!("check that {host} is up and can be reached from here"),
            Self::Refused { repository, status, codes, message } => {
                status_remedy(repository, *status, codes, message)
            }
            Self::Token { repository, .. } => login_remedy(repository),
            Self::Login(error) => error.remedy(),
            Self::InvalidResponse { .. } => "push the image again, or remove the tag".to_owned(),
            Self::InvalidCertificate { path, .. } => format!("replace or remove {path}"),
        }
    }

    /// Returns `true` if the registry is unreachable or fails, so that further calls would fail as well.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Http { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }

    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Http { source, .. } => !source.is_connect(),
            Self::Refused { status, .. } => is_temporary(*status),
            _ => false,
        }
    }

    /// Returns `true` if the registry rejected the credentials, or if they have expired.
    pub(crate) fn is_login_error(&self) -> bool {
        match self {
            Self::Refused { status, message, .. } => {
                *status == StatusCode::UNAUTHORIZED || is_token_expired(message)
            }
            Self::Token { .. } => true,
            _ => false,
        }
    }
}

pub(crate) async fn with_timeout<T>(
    host: &str,
    patience: Duration,
    call: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let result = tokio::time::timeout(patience, call).await;
    result.unwrap_or_else(|_| Err(RegistryError::TimedOut { host: host.to_owned(), patience }))
}

fn timeout_remedy(host: &str) -> String {
    format!("{host} is slow or unreachable: try again, or check proxies and firewalls")
}

fn login_remedy(repository: &str) -> String {
    let host = repository.split('/').next().unwrap_or(repository);
    format!("log in again: docker login {host}")
}

fn status_remedy(repository: &str, status: StatusCode, codes: &[String], message: &str) -> String {
    // ECR's code for a tag that is immutable.
    if codes.iter().any(|code| code == "TAG_INVALID") {
        return format!(
            "push a different tag, or make this tag of {repository} mutable; the tags that larder maintains begin with \
             `cache`, `buildcache` or `larder-`, and --tiers engine,archive,mounts avoids them"
        );
    }
    match status {
        status if status == StatusCode::UNAUTHORIZED || is_token_expired(message) => login_remedy(repository),
        StatusCode::FORBIDDEN => {
            format!("give this login read and write access to {repository}, or use --read-only")
        }
        StatusCode::NOT_FOUND => format!("create the repository {repository}"),
        StatusCode::TOO_MANY_REQUESTS => {
            "the registry limits the request rate: log in, or run fewer jobs at a time".to_owned()
        }
        status if status.is_server_error() => {
            "the registry failed: try again, or contact its operator".to_owned()
        }
        _ => format!("contact the operator of the registry of {repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_messages_are_shown_on_one_line() {
        for (body, line) in [
            (
                &br#"{"errors":[{"code":"DENIED","message":"not\nyours"},{"code":"NAME_UNKNOWN"}]}"#[..],
                "not yours; name_unknown",
            ),
            (br#"{"message":"no such thing"}"#, "no such thing"),
            (b"<html>", ""),
        ] {
            assert_eq!(codes_and_message(body).1, line);
        }
        let long = format!("{{\"message\":\"{}\"}}", "x".repeat(9999));
        assert_eq!(codes_and_message(long.as_bytes()).1.len(), MAX_MESSAGE_LENGTH);
    }

    #[test]
    fn each_error_status_has_a_specific_remedy() {
        let refused = |status: u16, code: &str, message: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let error = RegistryError::Refused {
                repository: "reg.example/app".to_owned(),
                status,
                codes: vec![code.to_owned()],
                message: message.to_owned(),
            };
            (error.is_login_error(), error.remedy())
        };
        for (status, code, message, of_login, remedy) in [
            (401, "UNAUTHORIZED", "", true, "docker login reg.example"),
            (403, "DENIED", "", false, "write access to reg.example/app"),
            (403, "DENIED", "Your authorization token has expired", true, "docker login reg.example"),
            (404, "NAME_UNKNOWN", "", false, "create the repository reg.example/app"),
            (400, "TAG_INVALID", "", false, "--tiers"),
            (429, "TOOMANYREQUESTS", "", false, "fewer jobs"),
            (503, "", "", false, "try again"),
        ] {
            let (is_of_login, said) = refused(status, code, message);
            assert!(is_of_login == of_login && said.contains(remedy), "{status}: {said}");
        }
    }
}
