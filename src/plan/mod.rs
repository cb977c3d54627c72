//! The resolved settings of a job and its builds.

mod dir;
mod job;
mod output;
mod push;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::buildkit::solve::CacheEntry;
use crate::registry::ImageRef;
use crate::tiers::ArchiveRequest;

pub(crate) use dir::{DirRestoreSettings, DirSaveSettings, DirSettings};
pub(crate) use job::{JobLanes, JobSettings, StoreSettings};
pub(crate) use output::{BuildOutput, OutputDestination, OutputKind};
pub(crate) use push::{PushSettings, PushWith};
pub(crate) use source::{BuildContextSource, DockerfileSource, NamedContextSource, SourceSettings};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// `Tty` on a terminal that can redraw, else `Plain`.
    Auto,
    Plain,
    Tty,
    Quiet,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct BuildSettings {
    pub(crate) source: SourceSettings,
    pub(crate) tags: Vec<ImageRef>,
    /// Never empty.
    pub(crate) outputs: Vec<BuildOutput>,
    /// `true` if the image must be in the engine, even if it is pushed.
    pub(crate) load: bool,
    pub(crate) push: PushSettings,
    /// `true` if missing ECR repositories are created.
    pub(crate) create_repository: bool,
    /// `true` if no output was requested explicitly. Then the image is loaded into the engine if it can store one.
    pub(crate) has_default_output: bool,
    pub(crate) cache_from: Vec<CacheEntry>,
    pub(crate) cache_to: Vec<CacheEntry>,
    pub(crate) no_cache: bool,
    /// Stages in which every step is run.
    pub(crate) no_cache_filter: Vec<String>,
    /// `true` if hits are ignored and the new result is saved.
    pub(crate) force_rebuild: bool,
    pub(crate) progress: ProgressMode,
    /// `true` if only the image's id is printed.
    pub(crate) quiet: bool,
    pub(crate) iid_file: Option<PathBuf>,
    pub(crate) metadata_file: Option<PathBuf>,
    /// Attributes of the exporter, from `--annotation`.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Attributes of attestations by kind; `None` disables the kind.
    pub(crate) attestations: BTreeMap<String, Option<String>>,
    pub(crate) timeout: Option<Duration>,
    /// `true` if cache failures fail the build.
    pub(crate) strict: bool,
    pub(crate) tiers: TierSettings,
    pub(crate) mounts: MountSettings,
}

impl BuildSettings {
    /// Returns the flag that makes BuildKit run every step, if it was given.
    pub(crate) fn every_step_flag(&self) -> Option<&'static str> {
        match (self.no_cache, self.force_rebuild) {
            (true, _) => Some("--no-cache"),
            (false, true) => Some("--force-rebuild"),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TierSettings {
    pub(crate) engine: bool,
    pub(crate) registry: bool,
    /// `true` if builds continue from prefixes of their images in a registry, and prefixes are published.
    pub(crate) prefix: bool,
    /// `true` if images that are only pushed may be grafted onto their prefixes without a builder.
    pub(crate) graft: bool,
    /// `true` if whole images are loaded from the store and, if requested, archived there.
    pub(crate) archive: bool,
    pub(crate) archive_request: ArchiveRequest,
    /// `true` if layers are saved to and imported from a registry.
    pub(crate) layers: bool,
    pub(crate) mounts: bool,
    /// `true` if the settings name the tiers to use. They are used then even if they lose time.
    pub(crate) are_named: bool,
    /// The reason why the unused tiers are disabled.
    pub(crate) switch: &'static str,
    /// The time limit for transfers of a whole image or of layers.
    pub(crate) archive_timeout: Duration,
    /// The repository for cached images and layers, if it differs from the one that is pushed to. Its tag is ignored.
    pub(crate) cache_repo: Option<ImageRef>,
}

impl TierSettings {
    pub(crate) fn has_any(&self) -> bool {
        self.engine || self.registry || self.prefix || self.archive || self.layers || self.mounts
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MountSettings {
    /// `true` if mounts are added to RUNs that could use one.
    pub(crate) auto: bool,
    /// The project that shares the mounts.
    pub(crate) scope: String,
    /// In bytes.
    pub(crate) max_size: Option<u64>,
    /// The number of consecutive builds without a read after which a file is removed.
    pub(crate) unused_builds: Option<u32>,
    pub(crate) timeout: Duration,
    pub(crate) allow_shrink: bool,
}
