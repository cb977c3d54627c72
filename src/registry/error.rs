//! Registry errors and their remedies.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::TokenError;
use super::ecr::EcrError;

/// Maximum length of a registry's message, in characters.
const MOST_WORDS: usize = 300;

/// A failed call to a registry. It never contains credentials or tokens.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("cannot ask the registry {host}")]
    Http {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the registry {host} did not answer in {patience:?}")]
    Late { host: String, patience: Duration },
    #[error("the registry answered {status} for {repository}{}", said(message))]
    Refused { repository: String, status: StatusCode, message: String },
    #[error("no token for {repository}")]
    Token {
        repository: String,
        #[source]
        source: TokenError,
    },
    /// The ECR credentials cannot be obtained.
    #[error(transparent)]
    Login(#[from] EcrError),
    #[error("the registry's answer for {repository} is unusable: {reason}")]
    Unusable { repository: String, reason: &'static str },
    #[error("the certificate {path} cannot be used: {reason}")]
    Certificate { path: String, reason: String },
}

/// The body of an error response (OCI distribution specification, "Error Codes").
#[derive(Default, Deserialize)]
struct Words {
    #[serde(default)]
    errors: Vec<Word>,
    /// Used by ECR's API.
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Returns the messages in the body of an error response, on one line.
pub(super) fn words(body: &[u8]) -> String {
    let Words { errors, message } = serde_json::from_slice(body).unwrap_or_default();
    let said: Vec<String> = errors
        .into_iter()
        .map(|Word { code, message }| if message.is_empty() { code.to_lowercase() } else { message })
        .chain([message])
        .filter(|words| !words.is_empty())
        .collect();
    let line = said.join("; ").split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|char| !char.is_control()).take(MOST_WORDS).collect()
}

impl RegistryError {
    /// Returns one line that says how to fix the error.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Late { host, .. } => slow(host),
            Self::Http { host, source } if source.is_timeout() => slow(host),
            Self::Http { host, source } if is_certificate(source) => format!(
                "put the CA of {host} into /etc/docker/certs.d/{host}/ca.crt, for the engine and for larder"
            ),
            Self::Http { host, .. } => format!("check that {host} is up and can be reached from here"),
            Self::Refused { repository, status, message } => refused(repository, *status, message),
            Self::Token { repository, .. } => log_in(repository),
            Self::Login(error) => error.remedy(),
            Self::Unusable { .. } => "push the image anew, or remove the tag".to_owned(),
            Self::Certificate { path, .. } => format!("replace or remove {path}"),
        }
    }

    /// Returns `true` if the registry is unreachable or out of order, so that further calls are pointless.
    pub(crate) fn is_of_reach(&self) -> bool {
        match self {
            Self::Http { .. } | Self::Late { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }

    /// Returns `true` if the call may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Http { source, .. } => !source.is_connect(),
            Self::Refused { status, .. } => may_pass(*status),
            _ => false,
        }
    }

    /// Returns `true` if the registry rejected the credentials, or if they have expired.
    pub(crate) fn is_of_login(&self) -> bool {
        match self {
            Self::Refused { status, message, .. } => {
                *status == StatusCode::UNAUTHORIZED || message.contains("token has expired")
            }
            Self::Token { .. } => true,
            _ => false,
        }
    }
}

/// Limits the duration of a call to a registry.
pub(crate) async fn within<T>(
    host: &str,
    patience: Duration,
    asking: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let answered = tokio::time::timeout(patience, asking).await;
    answered.unwrap_or_else(|_| Err(RegistryError::Late { host: host.to_owned(), patience }))
}

/// Returns `true` if a call with this status may succeed a little later.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

fn slow(host: &str) -> String {
    format!("{host} is slow or cut off: try again, or look at proxies and firewalls")
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("certificate") {
            return true;
        }
        source = error.source();
    }
    false
}

fn log_in(repository: &str) -> String {
    let host = repository.split('/').next().unwrap_or(repository);
    format!("log in anew: docker login {host}")
}

fn refused(repository: &str, status: StatusCode, message: &str) -> String {
    if message.contains("immutable") {
        return format!(
            "push another tag, or let {repository} replace this one; larder's own begin with `cache`, `buildcache` and \
             `larder-`, and --tiers engine,archive,mounts leaves them out"
        );
    }
    match status {
        _ if message.contains("token has expired") => log_in(repository),
        StatusCode::UNAUTHORIZED => log_in(repository),
        StatusCode::FORBIDDEN => format!("let this login read and write {repository}, or use --read-only"),
        StatusCode::NOT_FOUND => format!("create the repository {repository}"),
        StatusCode::TOO_MANY_REQUESTS => {
            "the registry limits requests: log in, or run fewer jobs at a time".to_owned()
        }
        status if status.is_server_error() => {
            "the registry is at fault: try again, or ask who runs it".to_owned()
        }
        _ => format!("ask who runs the registry of {repository}"),
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
            assert_eq!(words(body), line);
        }
        let long = format!("{{\"message\":\"{}\"}}", "x".repeat(9999));
        assert_eq!(words(long.as_bytes()).len(), MOST_WORDS);
    }

    #[test]
    fn each_refusal_has_a_remedy_that_names_what_is_at_fault() {
        let refused = |status: u16, message: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let error = RegistryError::Refused {
                repository: "reg.example/app".to_owned(),
                status,
                message: message.to_owned(),
            };
            (error.is_of_login(), error.remedy())
        };
        for (status, message, of_login, remedy) in [
            (401, "", true, "docker login reg.example"),
            (403, "", false, "read and write reg.example/app"),
            (403, "Your authorization token has expired", true, "docker login reg.example"),
            (404, "", false, "create the repository reg.example/app"),
            (400, "the tag is immutable", false, "--tiers"),
            (429, "", false, "fewer jobs"),
            (503, "", false, "try again"),
        ] {
            let (is_of_login, said) = refused(status, message);
            assert!(is_of_login == of_login && said.contains(remedy), "{status}: {said}");
        }
    }
}
