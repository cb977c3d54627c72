//! The command line: clap types and their help texts, nothing else.
//!
//! Values are stored as typed. `settings` parses them, once.

#![allow(clippy::doc_markdown, reason = "these doc comments are help texts, shown as they are")]
#![allow(rustdoc::broken_intra_doc_links, reason = "these doc comments are help texts, shown as they are")]

mod base;
mod build;
mod cache;
mod container;
mod dir;
mod ecr;
mod mount;
mod run;
mod source;
mod stats;
mod store;
mod unsupported;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use base::{BaseBuildArgs, BaseCommand};
pub(crate) use build::{BuildArgs, BuildCommandArgs, ImageArgs, ProgressArg, TierArgs};
pub(crate) use cache::{
    CacheCommand, ClearArgs, EvictArgs, ExportArgs, ImportArgs, InfoArgs, LoadArgs, PlaceArg, VerifyArgs,
};
pub(crate) use container::{Arity, CONTAINER_OPTIONS, ContainerOption, ContainerOptions};
pub(crate) use dir::{DirCommand, DirKeyArgs, DirRestoreArgs, DirSaveArgs};
pub(crate) use ecr::{EcrCleanArgs, EcrCommand, EcrLifecycleArgs, EcrLoginArgs, EcrPullArgs, EcrPushArgs};
pub(crate) use mount::{CacheMountArgs, MountCommand};
pub(crate) use run::{ContainerArgs, RENAMED_BUILD_OPTIONS, RunArgs};
pub(crate) use source::{SourceArgs, StepArgs};
pub(crate) use stats::{StatsArgs, StatsFormat, ThresholdArgs};
pub(crate) use store::StoreArgs;
#[cfg(test)]
pub(crate) use unsupported::UNSUPPORTED_RUN_OPTIONS;
pub(crate) use unsupported::UnsupportedOption;

/// Build Docker images fast on CI agents
///
/// larder builds images with BuildKit, and stores what later builds can reuse.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 success; 1 build failed; 2 invalid usage or configuration; 3 cache failure with \
                  --strict, or found by cache verify; 4 threshold of stats not met; 5 engine unreachable; 130 \
                  interrupted; larder run exits with the container's code, or 125 to 127 if the container cannot \
                  be started"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image, or take it from a cache if nothing has changed
    Build(Box<BuildCommandArgs>),
    /// Build an image or take it from a cache, and run it
    Run(Box<RunArgs>),
    /// Print the cache keys of a build
    Key(Box<KeyArgs>),
    /// Show what changed since the last build of this image
    Why(Box<ReportArgs>),
    /// List, remove, verify and transfer cached entries
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show the cache hits and durations of recent builds
    Stats(StatsArgs),
    /// Restore and save cache mounts around a build by any command
    #[command(subcommand, disable_help_subcommand = true)]
    Mount(MountCommand),
    /// Build base images
    #[command(subcommand)]
    Base(BaseCommand),
    /// Log in to, pull from, push to and clean up Amazon ECR
    #[command(subcommand)]
    Ecr(EcrCommand),
    /// Save and restore directories, such as a package manager's cache
    #[command(subcommand, disable_help_subcommand = true)]
    Dir(DirCommand),
}

impl Command {
    pub(crate) fn needs_engine(&self) -> bool {
        match self {
            Self::Cache(command) => matches!(command, CacheCommand::Load(_) | CacheCommand::Export(_)),
            Self::Stats(_) | Self::Dir(_) => false,
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Address of the engine: unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST; larder run and larder cache load accept several [env: DOCKER_HOST]
    #[arg(long, short = 'H', global = true, value_name = "ADDRESS", conflicts_with = "context_name")]
    pub(crate) host: Vec<String>,
    /// Docker context to use [env: DOCKER_CONTEXT]
    #[arg(long = "context", global = true, value_name = "NAME", id = "context_name")]
    pub(crate) context: Option<String>,
    /// Wait this long for an engine that cannot be reached yet, e.g. 60s [env: LARDER_WAIT_FOR_ENGINE]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) wait_for_engine: Option<String>,
    /// Cache directory [env: LARDER_CACHE_DIR] [default: ~/.cache/larder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Lane that this job writes [env: LARDER_LANE] [default: the CI job's pull request, tag or branch, else local]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) lane: Option<String>,
    /// Configuration file [env: LARDER_CONFIG] [default: larder.yaml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// List every input of the keys with its digest
    #[arg(long)]
    pub(crate) explain: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// A build that a command reports on without running it.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

/// The format of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people
    Text,
    /// JSON for programs; the output names its schema
    Json,
}
