//! The Docker Engine API: images, names, pulls, pushes. The only user of bollard.
//!
//! Streams are opened by `endpoint`, so that Unix sockets, TLS and ssh are the
//! same ones that BuildKit is reached by.

mod archive;
mod container;
mod data_root;
mod image;
mod moving;
mod pull;
mod push;
mod transport;

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::{ClientVersion, Docker};

pub(crate) use container::{Container, ContainerSpec, Stream};
pub use image::{Image, ImageStore};
pub(crate) use push::PushProgress;

use crate::endpoint::Endpoint;

/// How long a single answer of the engine may take, in seconds; pushes stream and may take longer.
const TIMEOUT_SECONDS: u64 = 60;

/// A Docker engine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
}

/// The engine refused or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It answered with an error.
    #[error("the engine says: {0}")]
    Refused(String),
    /// It cannot fetch a layer from a registry.
    #[error("the engine cannot fetch the layer {layer}")]
    Unfetched {
        /// The first digits of the layer's digest.
        layer: String,
    },
    /// Nothing has moved for a while.
    #[error("{what} has not moved for {after:?}")]
    Stalled {
        /// What it is.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// It would ignore something.
    #[error("the engine is too old for {0}")]
    TooOld(&'static str),
    /// It gave no answer that makes sense.
    #[error("the engine did not answer {what}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: ApiError,
    },
}

impl Engine {
    /// The engine at `endpoint`, spoken to in API `major.minor` or older.
    ///
    /// # Errors
    ///
    /// Fails when the client cannot be set up; nothing is sent yet.
    pub fn new(endpoint: &Endpoint, (major, minor): (u32, u32)) -> Result<Self, EngineError> {
        let known = bollard::API_DEFAULT_VERSION;
        let asked = (major as usize, minor as usize);
        let (major_version, minor_version) = asked.min((known.major_version, known.minor_version));
        let version = ClientVersion { major_version, minor_version };
        let docker = transport::docker(endpoint, TIMEOUT_SECONDS, &version)
            .map_err(|source| EngineError::Failed { what: "at all", source })?;
        Ok(Self { docker })
    }
}

/// How engines say that a registry does not take a login.
const OF_LOGIN: [&str; 5] =
    ["unauthorized", "authentication required", "no basic auth", "token has expired", "authorization failed"];

impl EngineError {
    /// Whether the registry takes the login for nobody's, or for one that has ended.
    pub(crate) fn is_of_login(&self) -> bool {
        let Self::Refused(words) = self else { return false };
        let words = words.to_lowercase();
        OF_LOGIN.iter().any(|known| words.contains(known))
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
