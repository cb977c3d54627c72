//! What becomes of the result of a build.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What becomes of the result of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// The kind of result.
    pub(crate) kind: OutputKind,
    /// Further attributes, handed on to the exporter.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The kinds of result that docker build knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputKind {
    /// An image in the engine's store, pushed or not.
    Image {
        /// Push it under its names.
        push: bool,
    },
    /// The files of the result, in a directory.
    Local(PathBuf),
    /// The files of the result, as a tar archive.
    Tar(Destination),
    /// An image as an OCI archive.
    Oci(Destination),
    /// An image as `docker load` takes it.
    Docker(Destination),
    /// Nothing but what stays in the build cache.
    CacheOnly,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

impl OutputKind {
    /// The name of the kind in `--output type=…`.
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

    /// Whether the result is an image in the engine's store.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self, Self::Image { .. })
    }

    /// Whether the result goes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Tar(Destination::Stdout)
                | Self::Oci(Destination::Stdout)
                | Self::Docker(Destination::Stdout)
        )
    }
}
