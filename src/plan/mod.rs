//! What a job and its builds are to do, with everything that was typed resolved.

mod dir;
mod job;
mod output;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::buildkit::solve::CacheEntry;
use crate::registry::ImageRef;
use crate::tiers::ArchiveRequest;

pub(crate) use dir::{DirRestoreSettings, DirSaveSettings, DirSettings};
pub(crate) use job::{JobLanes, JobSettings, StoreSettings};
pub(crate) use output::{Destination, Output, OutputKind};
pub(crate) use source::{ContextSource, DockerfileSource, NamedContext, SourceSettings};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressMode {
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
pub(crate) struct BuildSettings {
    /// What is built.
    pub(crate) source: SourceSettings,
    /// Names of the image.
    pub(crate) tags: Vec<ImageRef>,
    /// What becomes of the result; never empty.
    pub(crate) outputs: Vec<Output>,
    /// The image is wanted in the engine, even where it is pushed.
    pub(crate) load: bool,
    /// Repositories in Amazon's registry that do not exist are created.
    pub(crate) create_repository: bool,
    /// No output was asked for by name: the image is wanted where the engine can keep one.
    pub(crate) default_output: bool,
    /// Caches to take layers from.
    pub(crate) cache_from: Vec<CacheEntry>,
    /// Caches to put layers into.
    pub(crate) cache_to: Vec<CacheEntry>,
    /// Run every step.
    pub(crate) no_cache: bool,
    /// Run every step of these stages.
    pub(crate) no_cache_filter: Vec<String>,
    /// Ignore every hit and keep the new result.
    pub(crate) force_rebuild: bool,
    /// How progress is shown.
    pub(crate) progress: ProgressMode,
    /// Print the image's id only.
    pub(crate) quiet: bool,
    /// File for the image's id.
    pub(crate) iid_file: Option<PathBuf>,
    /// File for the record of the build.
    pub(crate) metadata_file: Option<PathBuf>,
    /// Attributes of the exporter that come from `--annotation`.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Attestations by kind, with their attributes; `None` switches the kind off.
    pub(crate) attestations: BTreeMap<String, Option<String>>,
    /// Give up after this long.
    pub(crate) timeout: Option<Duration>,
    /// A cache at fault fails the build.
    pub(crate) strict: bool,
    /// Which tiers are used.
    pub(crate) tiers: TierSettings,
    /// How cache mounts are carried.
    pub(crate) mounts: MountSettings,
}

impl BuildSettings {
    /// The flag that makes BuildKit run every step, if one was given.
    pub(crate) fn runs_every_step(&self) -> Option<&'static str> {
        match (self.no_cache, self.force_rebuild) {
            (true, _) => Some("--no-cache"),
            (false, true) => Some("--force-rebuild"),
            (false, false) => None,
        }
    }
}

/// Which tiers a build uses.
#[derive(Debug, Clone)]
pub(crate) struct TierSettings {
    /// Look for the image in the engine.
    pub(crate) engine: bool,
    /// Let pushed images be found again in their registry.
    pub(crate) registry: bool,
    /// Load whole images from the store, and archive them there where that is requested.
    pub(crate) archive: bool,
    /// Whether, and how, the flags, the environment or the file request that images are archived.
    pub(crate) archive_request: ArchiveRequest,
    /// Keep layers in a registry, and take them from there.
    pub(crate) layers: bool,
    /// Carry cache mounts.
    pub(crate) mounts: bool,
    /// What switched off those that are not used.
    pub(crate) switch: &'static str,
    /// How long moving a whole image, or layers, may take.
    pub(crate) archive_timeout: Duration,
    /// The repository for what is kept in a registry, where that is not the one that is pushed to. Its tag says nothing.
    pub(crate) cache_repo: Option<ImageRef>,
}

impl TierSettings {
    /// Whether any tier is used.
    pub(crate) fn are_any(&self) -> bool {
        self.engine || self.registry || self.archive || self.layers || self.mounts
    }
}

/// How cache mounts are carried.
#[derive(Debug, Clone)]
pub(crate) struct MountSettings {
    /// Add mounts to RUNs that could use one.
    pub(crate) auto: bool,
    /// Whose mounts these are.
    pub(crate) scope: String,
    /// Bytes that the entry of a mount may have.
    pub(crate) max_size: Option<u64>,
    /// A file goes after so many builds in a row that did not read it.
    pub(crate) unused_builds: Option<u32>,
    /// How long carrying them in or out may take.
    pub(crate) timeout: Duration,
    /// Save whatever is left of a mount.
    pub(crate) allow_shrink: bool,
}
