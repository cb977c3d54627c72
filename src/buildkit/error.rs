//! What can go wrong between larder and BuildKit.

use bollard_buildkit_proto::google::rpc;
use bollard_buildkit_proto::pb;
use prost::Message;
use tonic::{Code, Status};

use crate::endpoint::{DialError, Endpoint};

/// No usable BuildKit was reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No stream could be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Something listens, but it speaks neither Docker's API nor gRPC.
    #[error("{endpoint} answers, but neither as a Docker engine nor as buildkitd")]
    NotAnEngine {
        /// Where.
        endpoint: Endpoint,
        /// What the last attempt said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
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

/// `errdefs.Source` of moby/buildkit, `solver/errdefs/errdefs.proto`.
#[derive(Clone, PartialEq, Message)]
struct ErrorSource {
    #[prost(message, optional, tag = "1")]
    info: Option<pb::SourceInfo>,
    #[prost(message, repeated, tag = "2")]
    ranges: Vec<pb::Range>,
}

fn source_location(details: &[u8]) -> Option<SourceLocation> {
    let status = rpc::Status::decode(details).ok()?;
    let detail = status.details.iter().find(|detail| detail.type_url.contains("errdefs.Source"))?;
    let source = ErrorSource::decode(detail.value.as_slice()).ok()?;
    let info = source.info?;
    let first = source.ranges.first()?.start.as_ref()?.line;
    let last = source.ranges.last()?.end.as_ref()?.line;
    Some(SourceLocation {
        file: info.filename,
        text: String::from_utf8_lossy(&info.data).into_owned(),
        lines: (u32::try_from(first).ok()?, u32::try_from(last.max(first)).ok()?),
    })
}
