//! Errors between larder and BuildKit.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard_buildkit_proto::google::rpc;
use prost::Message;
use serde_json::Value;
use tonic::{Code, Status};

use crate::endpoint::{DialError, Endpoint};

/// A failure to reach a usable BuildKit.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server at {endpoint} is neither a Docker engine nor buildkitd: {reason}")]
    NotAnEngine {
        endpoint: Endpoint,
        /// What the server does instead, as a clause.
        reason: String,
    },
    #[error("the engine at {0} accepts only TLS connections")]
    TlsRequired(Endpoint),
    #[error("the engine at {endpoint} is not healthy: it answered {status} to /_ping")]
    Unhealthy { endpoint: Endpoint, status: http::StatusCode },
    #[error("{product} at {endpoint} has no BuildKit ({reason})")]
    NoBuildKit { endpoint: Endpoint, product: String, reason: String },
    #[error("the engine at {0} did not answer in {1:?}")]
    TimedOut(Endpoint, std::time::Duration),
    #[error("the connection to {0} broke")]
    Broken(Endpoint, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectError {
    /// Returns `true` if the engine is unreachable or not running; `false` if the address, the certificates or the
    /// listener are wrong.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Dial(error) => !matches!(error, DialError::SshUnavailable(..) | DialError::Tls(..)),
            Self::TimedOut(..) | Self::Broken(..) | Self::Unhealthy { .. } => true,
            Self::NotAnEngine { .. } | Self::TlsRequired(_) | Self::NoBuildKit { .. } => false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SolveError {
    #[error(transparent)]
    Build(#[from] BuildFailure),
    #[error("the build was cancelled")]
    Cancelled,
    #[error("the engine closed the session in the middle of the build")]
    SessionLost,
    #[error("the connection to the engine broke in the middle of the build: {}", .0.message())]
    Connection(Status),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The engine could not be reached before the solve.
    #[error(transparent)]
    NoEngine(#[from] Arc<ConnectError>),
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BuildFailure {
    /// BuildKit's message, for example `process "/bin/sh -c false" did not complete successfully: exit code: 1`.
    pub(crate) message: String,
    /// Digest of the vertex that failed, if the engine names it.
    pub(crate) vertex: Option<String>,
    pub(crate) location: Option<SourceLocation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceLocation {
    pub(crate) file: String,
    pub(crate) text: String,
    /// First and last line, 1-based.
    pub(crate) lines: (u32, u32),
}

impl SolveError {
    pub(super) fn from_status(status: Status) -> Self {
        let broken = matches!(status.code(), Code::Unavailable)
            || (status.code() == Code::Unknown && std::error::Error::source(&status).is_some());
        if broken {
            return Self::Connection(status);
        }
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        Self::Build(BuildFailure {
            message: status.message().to_owned(),
            vertex: detail(&details, "errdefs.Vertex")
                .and_then(|vertex| vertex["digest"].as_str().map(str::to_owned)),
            location: detail(&details, "errdefs.Source").as_ref().and_then(location),
        })
    }
}

/// Returns a status detail. BuildKit attaches Go values as JSON under the name of their type (moby/buildkit,
/// `util/grpcerrors`, `solver/errdefs/errdefs.proto`).
fn detail(status: &rpc::Status, name: &str) -> Option<Value> {
    let detail = status.details.iter().find(|detail| detail.type_url.contains(name))?;
    serde_json::from_slice(&detail.value).ok()
}

fn location(source: &Value) -> Option<SourceLocation> {
    source["info"].as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |position: &Value| u32::try_from(position["line"].as_u64().unwrap_or_default()).ok();
    // Go encodes bytes in base64.
    let content = BASE64_STANDARD.decode(text(&source["info"]["data"])).ok()?;
    let ranges = source["ranges"].as_array()?;
    let (first, last) = (line(&ranges.first()?["start"])?, line(&ranges.last()?["end"])?);
    Some(SourceLocation {
        file: text(&source["info"]["filename"]),
        text: String::from_utf8_lossy(&content).into_owned(),
        lines: (first, last.max(first)),
    })
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Any;

    use super::*;

    #[test]
    fn the_details_of_a_failure_name_the_step_and_its_lines() {
        let any = |name: &str, value: &str| Any {
            type_url: format!("github.com/moby/buildkit/errdefs.{name}+json"),
            value: value.as_bytes().to_vec(),
        };
        let details = rpc::Status {
            code: 2,
            message: String::new(),
            details: vec![
                any("Vertex", r#"{"digest":"sha256:ab"}"#),
                // base64 of "FROM a\nRUN b\n"
                any(
                    "Source",
                    r#"{"info":{"filename":"Dockerfile","data":"RlJPTSBhClJVTiBiCg=="},
                        "ranges":[{"start":{"line":2},"end":{"line":2}}]}"#,
                ),
            ],
        };
        let status = Status::with_details(Code::Unknown, "failed", details.encode_to_vec().into());
        let SolveError::Build(failure) = SolveError::from_status(status) else {
            panic!("not a failed build")
        };
        assert_eq!(failure.vertex.as_deref(), Some("sha256:ab"));
        let expected =
            SourceLocation { file: "Dockerfile".into(), text: "FROM a\nRUN b\n".into(), lines: (2, 2) };
        assert_eq!(failure.location, Some(expected));
    }

    #[test]
    fn details_of_an_unknown_shape_are_ignored() {
        let status = Status::with_details(Code::Unknown, "failed", b"\xff\xff".to_vec().into());
        let SolveError::Build(failure) = SolveError::from_status(status) else {
            panic!("not a failed build")
        };
        assert_eq!((failure.vertex, failure.location), (None, None));
    }
}
