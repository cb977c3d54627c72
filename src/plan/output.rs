//! The outputs of a build.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildOutput {
    pub(crate) kind: OutputKind,
    /// Further attributes, passed to the exporter.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The kinds of output that docker build supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// An image in the engine's store.
    Image { push: bool },
    /// The result's files in a directory.
    Local(PathBuf),
    /// The result's files in a tar archive.
    Tar(OutputDestination),
    /// An image in an OCI archive.
    Oci(OutputDestination),
    /// An image in the format of `docker load`.
    Docker(OutputDestination),
    /// Only the build cache.
    CacheOnly,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputDestination {
    File(PathBuf),
    Stdout,
}

impl OutputKind {
    /// Returns the name of the kind in `--output type=…`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Image { .. } => "image",
            Self::Local(_) => "local",
            Self::Tar(_) => "tar",
            Self::Oci(_) => "oci",
            Self::Docker(_) => "docker",
            Self::CacheOnly => "cacheonly",
        }
    }

    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image { .. })
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self, Self::Tar(to) | Self::Oci(to) | Self::Docker(to) if *to == OutputDestination::Stdout)
    }
}
