//! Errors of builds and of other work on an engine. `commands/error` adds hints and exit codes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exports::ExportError;
use super::failed_build::FailedBuild;
use super::inputs::InputError;
use super::keys::KeysError;
use super::registries::PushError;
use super::withheld_files::WithheldFileError;
use crate::buildkit::{ConnectError, SolveError};
use crate::engine::EngineError;
use crate::error_chain::chain;
use crate::registry::ecr::EcrError;
use crate::store::backend::remote::OpenRemoteError;

pub(crate) type Result<T, E = PipelineError> = std::result::Result<T, E>;

/// An error of the pipeline. It is `Clone` because several builds may wait for the same connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("interrupted")]
    Interrupted,
    /// The user interrupted a solve, and the engine has stopped its steps.
    #[error("interrupted; the build was cancelled")]
    Cancelled,
    #[error("the build took longer than {0:?} and was cancelled")]
    TimedOut(Duration),
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
    #[error(transparent)]
    ConnectionLost(Arc<SolveError>),
    #[error("{}", .0.cause)]
    Build(FailedBuild),
    #[error("the engine finished the build but returned no image id")]
    NoImage,
    #[error("the image cannot be loaded from the cache: {0}")]
    CannotLoad(String),
    #[error("buildkitd cannot run images")]
    NoEngine,
    #[error(transparent)]
    Engine(Arc<EngineError>),
    #[error("cannot write {}", path.display())]
    Result { path: PathBuf, source: Arc<io::Error> },
    #[error("cannot push {name}")]
    Push { name: String, source: Arc<PushError>, host: String, is_ecr: bool },
    /// A cache failed under `--strict`.
    #[error("{0}")]
    Cache(String),
    /// Cache mounts failed under `--strict`; the faults were reported as they occurred.
    #[error("{0}")]
    Mounts(String),
    #[error(transparent)]
    Inputs(Arc<InputError>),
    #[error(transparent)]
    WithheldFile(Arc<WithheldFileError>),
    #[error("the Dockerfile does not declare ARG BASE_IMAGE before its first FROM")]
    NoBaseImageArg,
    #[error("cannot write the Dockerfile with cache mounts")]
    AutoMounts(#[source] Arc<io::Error>),
    #[error(transparent)]
    KeysUnknown(Arc<KeysError>),
    #[error("buildkitd stores no images, so a base image needs a repository")]
    NoEngineForBase,
    #[error("{0} cannot be a tag")]
    InvalidTag(String),
    #[error("--requirements needs a directory as the build context")]
    RequirementsContext,
    #[error("--requirements: cannot read {}", path.display())]
    Requirements { path: PathBuf, source: Arc<io::Error> },
    #[error(transparent)]
    Export(Arc<ExportError>),
    #[error("--{flag}: {} is the Dockerfile", path.display())]
    ResultIsDockerfile { flag: &'static str, path: PathBuf },
    #[error("--{flag}: cannot write {}", path.display())]
    ResultFile { flag: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error(transparent)]
    Repository(Arc<EcrError>),
    #[error(transparent)]
    Remote(Arc<OpenRemoteError>),
    /// This machine lacks a resource that larder needs, such as threads or memory.
    #[error("{0}")]
    Resource(String),
}

impl PipelineError {
    pub(crate) fn cache(fault: &(dyn std::error::Error + 'static)) -> Self {
        Self::Cache(chain(fault))
    }

    pub(crate) fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Cancelled)
    }

    /// Returns `true` if the build could not start. Such a build is not counted in the ledger.
    pub(crate) fn is_before_build(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::Inputs(_)
                | Self::WithheldFile(_)
                | Self::NoBaseImageArg
                | Self::AutoMounts(_)
                | Self::NoEngine
                | Self::KeysUnknown(_)
                | Self::NoEngineForBase
                | Self::InvalidTag(_)
                | Self::RequirementsContext
                | Self::Requirements { .. }
                | Self::Export(_)
                | Self::ResultIsDockerfile { .. }
                | Self::ResultFile { .. }
                | Self::Repository(_)
                | Self::Remote(_)
                | Self::Resource(_)
        )
    }

    /// Returns `true` if the message may quote the engine, and so the values of build arguments.
    pub(crate) fn quotes_engine(&self) -> bool {
        !self.is_before_build() && !self.is_interrupt() && !matches!(self, Self::Cache(_) | Self::Mounts(_))
    }
}

impl From<ConnectError> for PipelineError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Arc::new(error))
    }
}

impl From<EngineError> for PipelineError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl From<SolveError> for PipelineError {
    fn from(error: SolveError) -> Self {
        match error {
            SolveError::Cancelled => Self::Cancelled,
            SolveError::Connect(error) => error.into(),
            SolveError::NoEngine(error) => error.into(),
            SolveError::Build(failure) => Self::Build(FailedBuild::of(&failure)),
            error @ (SolveError::SessionLost | SolveError::Connection(_)) => {
                Self::ConnectionLost(Arc::new(error))
            }
        }
    }
}

impl From<tokio::task::JoinError> for PipelineError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Resource(chain(&error))
    }
}
