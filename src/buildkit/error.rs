//! What can go wrong between larder and BuildKit.

use bollard_buildkit_proto::google::rpc;
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};

use crate::endpoint::{DialError, Endpoint};

/// No usable BuildKit was reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No stream could be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Something listens, but it speaks neither Docker's API nor gRPC.
    #[error("what listens at {endpoint} is neither a Docker engine nor buildkitd: {reason}")]
    NotAnEngine {
        /// Where.
        endpoint: Endpoint,
        /// What it did instead, as a clause.
        reason: String,
    },
    /// The port speaks TLS, and larder was told of none.
    #[error("the engine at {0} takes TLS connections only")]
    TlsWanted(Endpoint),
    /// The engine answered the ping with an error.
    #[error("the engine at {endpoint} is not healthy: it answered {status} to /_ping")]
    Unhealthy {
        /// Where.
        endpoint: Endpoint,
        /// HTTP status.
        status: http::StatusCode,
    },
    /// The engine has no BuildKit.
    #[error("{product} at {endpoint} has no BuildKit ({reason})")]
    NoBuildKit {
        /// Where.
        endpoint: Endpoint,
        /// What the engine calls itself.
        product: String,
        /// What it said instead.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the engine at {0} did not answer in {1:?}")]
    TimedOut(Endpoint, std::time::Duration),
    /// The stream broke while being set up.
    #[error("the connection to {0} broke")]
    Broken(Endpoint, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A solve ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// BuildKit ran the build and it failed.
    #[error(transparent)]
    Build(#[from] BuildFailure),
    /// The caller cancelled it.
    #[error("the build was cancelled")]
    Cancelled,
    /// The session connection ended while the solve ran.
    #[error("the engine closed the session in the middle of the build")]
    SessionLost,
    /// The control connection broke.
    #[error("the connection to the engine broke in the middle of the build: {}", .0.message())]
    Connection(Status),
    /// A session could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// The engine's account of a failed build.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BuildFailure {
    /// BuildKit's message, e.g. `process "/bin/sh -c false" did not complete successfully: exit code: 1`.
    pub message: String,
    /// The Dockerfile lines at fault, where the engine names them.
    pub location: Option<SourceLocation>,
}

/// A range of lines in a source file that BuildKit read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// File name as the build knows it.
    pub file: String,
    /// The whole text of the file.
    pub text: String,
    /// First and last line, 1-based.
    pub lines: (u32, u32),
}

impl SolveError {
    pub(super) fn from_status(status: Status) -> Self {
        let broken = matches!(status.code(), Code::Unavailable)
            || (status.code() == Code::Unknown && std::error::Error::source(&status).is_some());
        if broken {
            return Self::Connection(status);
        }
        let location = source_location(status.details());
        Self::Build(BuildFailure { message: status.message().to_owned(), location })
    }
}

/// `errdefs.Source` of moby/buildkit, `solver/errdefs/errdefs.proto`, in the JSON that its details are sent in.
#[derive(Deserialize)]
struct ErrorSource {
    info: ErrorFile,
    ranges: Vec<ErrorRange>,
}

#[derive(Deserialize)]
struct ErrorFile {
    filename: String,
    /// Base64, as Go writes bytes.
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct ErrorRange {
    start: ErrorPosition,
    end: ErrorPosition,
}

#[derive(Deserialize)]
struct ErrorPosition {
    #[serde(default)]
    line: u32,
}

fn source_location(details: &[u8]) -> Option<SourceLocation> {
    let status = rpc::Status::decode(details).ok()?;
    let detail = status.details.iter().find(|detail| detail.type_url.contains("errdefs.Source"))?;
    let source: ErrorSource = serde_json::from_slice(&detail.value).ok()?;
    let first = source.ranges.first()?.start.line;
    let last = source.ranges.last()?.end.line;
    Some(SourceLocation {
        file: source.info.filename,
        text: String::from_utf8_lossy(&base64(&source.info.data)).into_owned(),
        lines: (first, last.max(first)),
    })
}

/// Decodes padded base64 as far as it is valid.
fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut buffer, mut bits) = (0_u32, 0);
    for sextet in text.bytes().map_while(value) {
        buffer = (buffer << 6) | u32::from(sextet);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 0xff).unwrap_or_default());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Any;

    use super::*;

    #[test]
    fn the_place_of_a_failure_is_read_as_buildkit_sends_it() {
        let json = r#"{"info":{"filename":"app/Dockerfile","data":"RlJPTSBhClJVTiBiCg==","language":"Dockerfile"},
                       "ranges":[{"start":{"line":2},"end":{"line":2}},{"start":{"line":3},"end":{"line":4,"character":1}}]}"#;
        let source = Any {
            type_url: "github.com/moby/buildkit/errdefs.Source+json".to_owned(),
            value: json.as_bytes().to_vec(),
        };
        let other =
            Any { type_url: "github.com/moby/buildkit/stack.Stack+json".to_owned(), value: Vec::new() };
        let details = rpc::Status { details: vec![other, source], ..rpc::Status::default() };
        let expected = SourceLocation {
            file: "app/Dockerfile".to_owned(),
            text: "FROM a\nRUN b\n".to_owned(),
            lines: (2, 4),
        };
        assert_eq!(source_location(&details.encode_to_vec()), Some(expected));
        assert_eq!(source_location(b"junk"), None);
    }

    #[test]
    fn base64_of_every_length_is_decoded() {
        for (text, bytes) in
            [("", &b""[..]), ("/w==", b"\xff"), ("+/8=", b"\xfb\xff"), ("AAEC", b"\0\x01\x02")]
        {
            assert_eq!(base64(text), bytes, "{text}");
        }
    }
}
