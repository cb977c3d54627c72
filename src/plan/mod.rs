//! What a build is to do, with everything that was typed resolved.

mod output;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::buildkit::solve::CacheEntry;
use crate::registry::ImageRef;
use crate::tiers::ArchiveRequest;

pub use output::{Destination, Output, OutputKind};
pub use source::{ContextSource, DockerfileSource, NamedContext, SourceSettings};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// `Tty` on a terminal that can redraw, else `Plain`.
    Auto,
    /// Line by line.
    Plain,
    /// Live.
    Tty,
    /// Nothing.
    Quiet,
    /// JSON lines.
    Json,
}

/// `larder build`, resolved.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// What is built.
    pub source: SourceSettings,
    /// Names of the image.
    pub tags: Vec<ImageRef>,
    /// What becomes of the result; never empty.
    pub outputs: Vec<Output>,
    /// The image is wanted in the engine, even where it is pushed.
    pub load: bool,
    /// Repositories in Amazon's registry that do not exist are created.
    pub create_repository: bool,
    /// No output was asked for by name: the image is wanted where the engine can keep one.
    pub default_output: bool,
    /// Caches to take layers from.
    pub cache_from: Vec<CacheEntry>,
    /// Caches to put layers into.
    pub cache_to: Vec<CacheEntry>,
    /// Run every step.
    pub no_cache: bool,
    /// Run every step of these stages.
    pub no_cache_filter: Vec<String>,
    /// Ignore every hit and keep the new result.
    pub force_rebuild: bool,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// Print the image's id only.
    pub quiet: bool,
    /// File for the image's id.
    pub iid_file: Option<PathBuf>,
    /// File for the record of the build.
    pub metadata_file: Option<PathBuf>,
    /// Attributes of the exporter that come from `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// Attestations by kind, with their attributes; `None` switches the kind off.
    pub attestations: BTreeMap<String, Option<String>>,
    /// Give up after this long.
    pub timeout: Option<Duration>,
    /// A cache at fault fails the build.
    pub strict: bool,
    /// Which tiers are used.
    pub tiers: TierSettings,
    /// How cache mounts are carried.
    pub mounts: MountSettings,
}

impl BuildSettings {
    /// The flag that makes BuildKit run every step, if one was given.
    pub fn runs_every_step(&self) -> Option<&'static str> {
        match (self.no_cache, self.force_rebuild) {
            (true, _) => Some("--no-cache"),
            (false, true) => Some("--force-rebuild"),
            (false, false) => None,
        }
    }
}

/// Which tiers a build uses.
#[derive(Debug, Clone)]
pub struct TierSettings {
    /// Look for the image in the engine.
    pub engine: bool,
    /// Let pushed images be found again in their registry.
    pub registry: bool,
    /// Load whole images from the store, and archive them there where that is requested.
    pub archive: bool,
    /// Whether, and how, the flags, the environment or the file request that images are archived.
    pub archive_request: ArchiveRequest,
    /// Keep layers in a registry, and take them from there.
    pub layers: bool,
    /// Carry cache mounts.
    pub mounts: bool,
    /// What switched off those that are not used.
    pub switch: &'static str,
    /// How long moving a whole image, or layers, may take.
    pub archive_timeout: Duration,
    /// The repository for what is kept in a registry, where that is not the one that is pushed to. Its tag says nothing.
    pub cache_repo: Option<ImageRef>,
}

impl TierSettings {
    /// Whether any tier is used.
    pub fn are_any(&self) -> bool {
        self.engine || self.registry || self.archive || self.layers || self.mounts
    }
}

/// How cache mounts are carried.
#[derive(Debug, Clone)]
pub struct MountSettings {
    /// Add mounts to RUNs that could use one.
    pub auto: bool,
    /// Whose mounts these are.
    pub scope: String,
    /// Bytes that the entry of a mount may have.
    pub max_size: Option<u64>,
    /// A file goes after so many builds in a row that did not read it.
    pub unused_builds: Option<u32>,
    /// How long carrying them in or out may take.
    pub timeout: Duration,
    /// Save whatever is left of a mount.
    pub allow_shrink: bool,
}
