//! The command line: clap types and their help texts, nothing else.
//!
//! Values stay as typed; `settings` interprets them once.

#![allow(clippy::doc_markdown, reason = "these doc comments are help texts, shown as they are")]

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

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use base::{BaseArgs, BaseBuildArgs, BaseCommand};
pub(crate) use build::{BuildArgs, BuildCommandArgs, ProgressArg, RefusedArgs, TierArgs};
pub(crate) use cache::{
    CacheArgs, CacheCommand, ClearArgs, EvictArgs, ExportArgs, ImportArgs, InfoArgs, LoadArgs, PlaceArg,
    VerifyArgs,
};
#[cfg(test)]
pub(crate) use container::REFUSED;
pub(crate) use container::{Arity, ContainerOption, ContainerOptions, OPTIONS};
pub(crate) use dir::{DirArgs, DirCommand, DirKeyArgs, DirRestoreArgs, DirSaveArgs};
pub(crate) use ecr::{
    EcrArgs, EcrCleanArgs, EcrCommand, EcrLifecycleArgs, EcrLoginArgs, EcrPullArgs, EcrPushArgs,
};
pub(crate) use mount::{CarryArgs, MountArgs, MountBuildArgs, MountCommand};
pub(crate) use run::{ContainerArgs, RENAMED, RunArgs};
pub(crate) use source::{SourceArgs, StepArgs};
pub(crate) use stats::StatsArgs;
pub(crate) use store::StoreArgs;

/// Keep what a Docker build already cooked
///
/// larder builds images through BuildKit itself and keeps what the next run can use again.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done; 1 the build failed; 2 usage or configuration; 3 a cache fault under \
                  --strict, or found by cache verify; 5 engine unreachable; 130 interrupted; of run \
                  the container's own, 125 to 127 where it cannot be started"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image, or take it from a cache when nothing has changed
    Build(Box<BuildCommandArgs>),
    /// Run an image, built or taken from a cache before
    Run(Box<RunArgs>),
    /// Print the keys that a build of these inputs has
    Key(Box<KeyArgs>),
    /// Say what has changed since the last build of this image, so that its key is another
    Why(Box<WhyArgs>),
    /// Look at what is kept, remove it, check it, carry it elsewhere
    Cache(CacheArgs),
    /// Print what the last builds hit and how long they took
    Stats(StatsArgs),
    /// Carry cache mounts between a builder and the cache, around a build by any command
    Mount(MountArgs),
    /// Build images that others stand on, once
    Base(BaseArgs),
    /// Use Amazon's registry: logins, pulls and pushes, cleaning up
    Ecr(EcrArgs),
    /// Keep directories, such as a package manager's cache, from one run to the next
    Dir(DirArgs),
}

impl Command {
    /// Returns `true` if the command uses an engine.
    pub(crate) fn needs_engine(&self) -> bool {
        match self {
            Self::Cache(args) => matches!(args.command, CacheCommand::Load(_) | CacheCommand::Export(_)),
            Self::Stats(_) | Self::Dir(_) => false,
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Address of the engine: unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST; larder run and larder cache load take several [env: DOCKER_HOST]
    #[arg(long, short = 'H', global = true, value_name = "ADDRESS", conflicts_with = "context_name")]
    pub(crate) host: Vec<String>,
    /// Docker context whose engine to use [env: DOCKER_CONTEXT]
    #[arg(long = "context", global = true, value_name = "NAME", id = "context_name")]
    pub(crate) context: Option<String>,
    /// Wait this long for an engine that cannot be reached yet, e.g. 60s [env: LARDER_WAIT_FOR_ENGINE]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) wait_for_engine: Option<String>,
    /// Directory of the cache [env: LARDER_CACHE_DIR] [default: ~/.cache/larder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Whose builds these are [env: LARDER_LANE] [default: the CI job's pull request, tag or branch, else local]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) lane: Option<String>,
    /// Configuration file [env: LARDER_CONFIG] [default: larder.yaml, where there is one]
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
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs; the schema is named in the output
    Json,
}
