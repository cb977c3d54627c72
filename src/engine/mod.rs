//! The Docker Engine API: images, names, pulls, pushes and containers. No other module uses bollard.
//!
//! Streams are opened by `endpoint`, so that Unix sockets, TLS and ssh are the same for the engine and for BuildKit.

mod archive;
mod container;
mod data_root;
mod history;
mod image;
mod layer_progress;
mod pull;
mod push;
mod transport;

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::{ClientVersion, Docker};

pub(crate) use archive::{ArchiveReader, archive_channel};
pub(crate) use container::{Container, ContainerSpec, OutputStream};
pub(crate) use data_root::DataRoot;
pub(crate) use image::{Image, ImageStore};
pub(crate) use push::PushProgress;

use crate::endpoint::Endpoint;

/// Timeout of a single response in seconds. Pushes are streams and may take longer.
const TIMEOUT_SECONDS: u64 = 60;

/// A client of a Docker engine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
}

/// An error response of the engine, or a failure to reach it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum EngineError {
    #[error("the engine reported: {0}")]
    Refused(String),
    /// The engine cannot fetch a layer from a registry; `layer` is the beginning of its digest.
    #[error("the engine cannot fetch the layer {layer}")]
    LayerNotFetched { layer: String },
    #[error("{what} has made no progress for {after:?}")]
    Stalled { what: &'static str, after: Duration },
    /// The engine would silently ignore an option.
    #[error("the engine is too old for {0}")]
    TooOld(&'static str),
    #[error("the engine did not respond to a request to {what}")]
    Failed {
        what: &'static str,
        #[source]
        source: ApiError,
    },
}

impl Engine {
    /// Creates a client for the engine at `endpoint` that uses API version `major.minor` or older.
    ///
    /// # Errors
    ///
    /// Fails if the client cannot be set up; nothing is sent yet.
    pub fn new(endpoint: &Endpoint, (major, minor): (u32, u32)) -> Result<Self, EngineError> {
        let known = bollard::API_DEFAULT_VERSION;
        let requested = (major as usize, minor as usize);
        let (major_version, minor_version) = requested.min((known.major_version, known.minor_version));
        let version = ClientVersion { major_version, minor_version };
        let docker = transport::docker(endpoint, TIMEOUT_SECONDS, &version)
            .map_err(|source| EngineError::Failed { what: "connect", source })?;
        Ok(Self { docker })
    }
}

/// Phrases with which engines report that a registry rejected the credentials.
const LOGIN_ERRORS: [&str; 5] =
    ["unauthorized", "authentication required", "no basic auth", "token has expired", "authorization failed"];

impl EngineError {
    /// Returns `true` if the registry rejected the credentials, or if they have expired.
    pub(crate) fn is_login_error(&self) -> bool {
        let Self::Refused(words) = self else { return false };
        let words = words.to_lowercase();
        LOGIN_ERRORS.iter().any(|known| words.contains(known))
    }

    fn new(what: &'static str, error: ApiError) -> Self {
        match error {
            ApiError::DockerResponseServerError { message, .. } => Self::Refused(message.trim().to_owned()),
            ApiError::DockerStreamError { error } => Self::Refused(error.trim().to_owned()),
            source => Self::Failed { what, source },
        }
    }
}

fn is_not_found(error: &ApiError) -> bool {
    matches!(error, ApiError::DockerResponseServerError { status_code: 404, .. })
}
